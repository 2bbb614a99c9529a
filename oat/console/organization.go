package console

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"

	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// startPage lets a person choose one of their organizations.
type startPage struct {
	frame
	Organizations []string
	More          int // that are not shown
}

// maxNames is how many organizations or owners one page names, which keeps it below
// 100 KB.
const maxNames = 250

// start leads straight on where there is only one organization.
func (v *visit) start() {
	names, err := v.owned()
	if err != nil {
		v.unavailable(v.w, v.r, err)
		return
	}
	if len(names) == 1 {
		v.redirect(v.link("orgs", names[0], "tokens"), "")
		return
	}
	shown := names[:min(len(names), maxNames)]
	v.render(http.StatusOK, "start", startPage{v.frame("Your organizations", ""), shown, len(names) - len(shown)})
}

func (v *visit) owned() (names []string, err error) {
	if v.cfg.Organizations != nil {
		return v.cfg.Organizations(v.r.Context(), v.user)
	}
	for _, o := range v.cfg.Tokens.Organizations() {
		if slices.Contains(o.Owners, v.user) {
			names = append(names, o.Name)
		}
	}
	return names, nil
}

// organizationPage shows the plan and the owners, which are changed elsewhere.
type organizationPage struct {
	frame
	Room         room
	Owners       []owner
	More         int // owners that are not shown
	Registered   instant
	Repositories int // how many one token may name
}

type owner struct {
	Name string
	You  bool
}

func (v *visit) organization() {
	p := organizationPage{
		frame: v.frame("Organization", "organization"), Room: v.room(), Repositories: quota.MaxRepositories,
		Registered: v.instant(v.org.RegisteredAt, ""),
	}
	shown := v.org.Owners[:min(len(v.org.Owners), maxNames)]
	p.More = len(v.org.Owners) - len(shown)
	for _, name := range shown {
		p.Owners = append(p.Owners, owner{name, name == v.user})
	}
	v.render(http.StatusOK, "organization", p)
}

// maxSuggestions is how many repositories are suggested at once, which keeps pages small.
const maxSuggestions = 50

// suggest asks the host for repositories. Without them owners type the names, so that an
// error of the host's is no reason to show nothing.
func (v *visit) suggest(query string) []string {
	if v.cfg.Repositories == nil {
		return nil
	}
	names, err := v.cfg.Repositories(v.r.Context(), v.org.Name, query)
	if err != nil {
		v.log(v.r, slog.LevelWarn, "repositories could not be suggested", err)
		return nil
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return len(name) > oat.MaxRepository })
	return names[:min(len(names), maxSuggestions)]
}

// repositories answers the script of the form with suggestions.
func (v *visit) repositories() {
	found := v.suggest(clip(v.r.URL.Query().Get("q")))
	if found == nil {
		found = []string{}
	}
	v.w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(v.w).Encode(map[string][]string{"repositories": found}); err != nil {
		v.log(v.r, slog.LevelInfo, "suggestions were not read to their end", err)
	}
}
