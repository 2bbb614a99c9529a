package oat_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// An event of an edit carries what changed and nothing else.
func TestEditRecordsWhatChanged(t *testing.T) {
	write := []oat.Resource{oat.Repository("acme/api", oat.ReadWrite)}
	tests := map[string]struct {
		cmd  oat.Edit
		want events.TokenEdited
	}{
		"label":             {oat.Edit{Label: pointer("  new ")}, events.TokenEdited{Label: pointer("new")}},
		"description":       {oat.Edit{Description: pointer(" new ")}, events.TokenEdited{Description: pointer("new")}},
		"description away":  {oat.Edit{Description: pointer("")}, events.TokenEdited{Description: pointer("")}},
		"resources":         {oat.Edit{Resources: write}, events.TokenEdited{Resources: write}},
		"all of them":       {oat.Edit{Label: pointer("new"), Description: pointer("d"), Resources: write}, events.TokenEdited{Label: pointer("new"), Description: pointer("d"), Resources: write}},
		"one of three":      {oat.Edit{Label: pointer("ci"), Description: pointer("new"), Resources: many(2)}, events.TokenEdited{Description: pointer("new")}},
		"order of the list": {oat.Edit{Resources: reversed(many(2))}, events.TokenEdited{Resources: reversed(many(2))}},
		"order of scopes": {
			oat.Edit{Resources: []oat.Resource{line("acme/repo-0", oat.ScopePush, oat.ScopePull), many(2)[1]}},
			events.TokenEdited{Resources: []oat.Resource{line("acme/repo-0", oat.ScopePush, oat.ScopePull), many(2)[1]}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			token, secret := d.generate(func(cmd *oat.Generate) { cmd.Description, cmd.Resources = "about", many(2) })
			test.cmd.Organization, test.cmd.Token, test.want.Token = "acme", token.ID, token.ID.String()
			edited, err := d.Service.Edit(t.Context(), alice, test.cmd)
			must(t, err)
			if diff := cmp.Diff(events.Payload(&test.want), d.last()); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
			if test.want.Label != nil {
				token.Label = *test.want.Label
			}
			if test.want.Description != nil {
				token.Description = *test.want.Description
			}
			if test.want.Resources != nil {
				token.Resources = test.want.Resources
			}
			token.Version++
			if diff := cmp.Diff(token, edited, sameToken()); diff != "" {
				t.Errorf("returned (-want +got):\n%s", diff)
			}
			if allows := d.opens(secret, true).Allows(oat.Push, "acme/api", oat.VisibilityPrivate); allows != (name == "resources" || name == "all of them") {
				t.Errorf("push to acme/api allowed: %t", allows)
			}
		})
	}
}

// Break it by dropping the comparison of any of the three in Edit.decide.
func TestEditThatChangesNothingRecordsNothing(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate(func(cmd *oat.Generate) { cmd.Description, cmd.Resources = "about", many(2) })
	for name, cmd := range map[string]oat.Edit{
		"nothing given":  {},
		"same label":     {Label: pointer("ci")},
		"more blanks":    {Label: pointer("\t ci \n")},
		"same text":      {Description: pointer("about")},
		"same resources": {Resources: many(2)},
		"all the same":   {Label: pointer("ci"), Description: pointer("about"), Resources: slices.Clone(many(2))},
	} {
		t.Run(name, func(t *testing.T) {
			cmd.Organization, cmd.Token = "acme", token.ID
			d.changesNothing(func() error {
				same, err := d.Service.Edit(t.Context(), alice, cmd)
				if diff := cmp.Diff(token, same, sameToken()); diff != "" {
					t.Errorf("returned (-want +got):\n%s", diff)
				}
				return err
			})
		})
	}
}

func TestAllProblemsOfEditAtOnce(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate()
	err := d.refuses(oat.ErrInvalid, func() error {
		_, err := d.Service.Edit(t.Context(), alice, oat.Edit{
			Organization: "acme", Token: token.ID, Label: pointer(" "), Description: pointer("\x00"),
			Resources: []oat.Resource{{Type: oat.TypeRepository, Path: "acme/API"}},
		})
		return err
	})
	wantProblems(t, err, "label", "description", "resources[0].path", "resources[0].scopes")
}

// What can be done with a token in each of its states: the inactive-only-delete rule.
// Break it by taking out any case of organization.editable or of Delete.decide.
func TestWhatCanBeDoneInEachState(t *testing.T) {
	const life = time.Hour
	states := []struct {
		name                             string
		bring                            func(*desk) uuid.UUID
		edit, deactivate, remove, strict error // refusals; strict is of Delete with RequireInactiveToDelete
	}{
		{
			name:   "active",
			bring:  func(d *desk) uuid.UUID { token, _ := d.generate(d.lasting(life)); return token.ID },
			strict: oat.ErrActive,
		}, {
			name: "just before it expires",
			bring: func(d *desk) uuid.UUID {
				token, _ := d.generate(d.lasting(life))
				d.Clock.Advance(life - 1)
				return token.ID
			},
			strict: oat.ErrActive,
		}, {
			name: "at the instant it expires",
			bring: func(d *desk) uuid.UUID {
				token, _ := d.generate(d.lasting(life))
				d.Clock.Advance(life)
				return token.ID
			},
			edit: oat.ErrExpired, deactivate: oat.ErrExpired,
		}, {
			name: "inactive",
			bring: func(d *desk) uuid.UUID {
				token, _ := d.generate(d.lasting(life))
				d.deactivate(token.ID)
				return token.ID
			},
			edit: oat.ErrInactive, deactivate: oat.ErrInactive,
		}, {
			name: "inactive and expired",
			bring: func(d *desk) uuid.UUID {
				token, _ := d.generate(d.lasting(life))
				d.deactivate(token.ID)
				d.Clock.Advance(2 * life)
				return token.ID
			},
			edit: oat.ErrInactive, deactivate: oat.ErrInactive,
		}, {
			name: "deleted",
			bring: func(d *desk) uuid.UUID {
				token, _ := d.generate()
				d.deactivate(token.ID)
				d.delete(token.ID)
				return token.ID
			},
			edit: oat.ErrTokenNotFound, deactivate: oat.ErrTokenNotFound, remove: oat.ErrTokenNotFound, strict: oat.ErrTokenNotFound,
		}, {
			name:  "never generated",
			bring: func(*desk) uuid.UUID { return uuid.New() },
			edit:  oat.ErrTokenNotFound, deactivate: oat.ErrTokenNotFound, remove: oat.ErrTokenNotFound, strict: oat.ErrTokenNotFound,
		}, {
			name:  "no id",
			bring: func(*desk) uuid.UUID { return uuid.Nil },
			edit:  oat.ErrTokenNotFound, deactivate: oat.ErrTokenNotFound, remove: oat.ErrTokenNotFound, strict: oat.ErrTokenNotFound,
		},
	}
	for _, state := range states {
		t.Run(state.name, func(t *testing.T) {
			try := func(what string, want error, strict bool, give func(*desk, uuid.UUID) error) {
				t.Run(what, func(t *testing.T) {
					d := newDesk(t, func(cfg *oat.Config) { cfg.RequireInactiveToDelete = strict })
					token := state.bring(d)
					if want != nil {
						d.refuses(want, func() error { return give(d, token) })
						return
					}
					must(t, give(d, token))
				})
			}
			try("edit", state.edit, false, func(d *desk, token uuid.UUID) error {
				_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token, Label: pointer("new")})
				return err
			})
			try("edit nothing", state.edit, false, func(d *desk, token uuid.UUID) error {
				_, err := d.Service.Edit(t.Context(), alice, oat.Edit{Organization: "acme", Token: token})
				return err
			})
			try("deactivate", state.deactivate, false, func(d *desk, token uuid.UUID) error {
				return d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token})
			})
			remove := func(d *desk, token uuid.UUID) error {
				return d.Service.Delete(t.Context(), alice, oat.Delete{Organization: "acme", Token: token})
			}
			try("delete", state.remove, false, remove)
			try("delete where only inactive ones can be", state.strict, true, remove)
		})
	}
}

func TestDeactivateAndDeleteRecordTheToken(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate()
	d.deactivate(token.ID)
	if diff := cmp.Diff(events.Payload(&events.TokenDeactivated{Token: token.ID.String()}), d.last()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	d.opens(secret, false)
	d.delete(token.ID)
	if diff := cmp.Diff(events.Payload(&events.TokenDeleted{Token: token.ID.String()}), d.last()); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	d.opens(secret, false)
}

// A clock that goes back makes an expired token active again, for as long as it is
// wrong; what was decided stays.
func TestClockThatGoesBack(t *testing.T) {
	d := newDesk(t)
	token, secret := d.generate(d.lasting(time.Hour))
	d.Clock.Advance(time.Hour)
	d.opens(secret, false)
	d.Clock.Advance(-time.Minute)
	d.opens(secret, true)
	d.deactivate(token.ID)
	d.Clock.Advance(-24 * time.Hour)
	d.opens(secret, false)
	d.refuses(oat.ErrInactive, func() error {
		return d.Service.Deactivate(t.Context(), alice, oat.Deactivate{Organization: "acme", Token: token.ID})
	})
	if _, err := events.VerifyChain(t.Context(), d.Log, events.OrganizationStream("acme")); err != nil {
		t.Error(err)
	}
}

// Whoever is not an owner gets one answer, whatever is there and whatever is wrong
// with the command. Break it by checking fields before owners in Service.manage.
func TestNonOwnerLearnsNothingElse(t *testing.T) {
	d := newDesk(t)
	token, _ := d.generate()
	inactive, _ := d.generate()
	d.deactivate(inactive.ID)
	answers := make(map[string]bool)
	for _, id := range []uuid.UUID{token.ID, inactive.ID, uuid.New(), uuid.Nil} {
		for _, command := range d.management(mallory, "acme", id) {
			answers[d.refuses(oat.ErrNotOwner, command.give).Error()] = true
		}
	}
	malformed := []command{
		{"ChangePlan", func() error {
			return d.Service.ChangePlan(t.Context(), mallory, oat.ChangePlan{Organization: "acme", Plan: "gold"})
		}},
		{"AddOwner", func() error {
			return d.Service.AddOwner(t.Context(), mallory, oat.AddOwner{Organization: "acme", Owner: "host:"})
		}},
		{"Generate", func() error {
			_, _, err := d.Service.Generate(t.Context(), mallory, oat.Generate{Organization: "acme"})
			return err
		}},
	}
	for _, plan := range []string{quota.Team, quota.Personal, ""} {
		d.changePlan(quota.Business)
		d.changePlan(plan)
		for _, command := range malformed {
			answers[d.refuses(oat.ErrNotOwner, command.give).Error()] = true
		}
	}
	if len(answers) != 1 {
		t.Errorf("told apart by %v", answers)
	}
}

// An owner of two organizations cannot reach the tokens of one through the other.
func TestTokenOfAnotherOrganizationIsNotFound(t *testing.T) {
	d := newDesk(t)
	d.register("acme2", quota.Team)
	token, secret := d.generate()
	for _, by := range []oat.Actor{alice, billing} {
		for _, command := range d.management(by, "acme2", token.ID)[4:] { // Edit, Deactivate, Delete
			err := d.refuses(oat.ErrTokenNotFound, command.give)
			never := d.refuses(oat.ErrTokenNotFound, d.management(by, "acme2", uuid.New())[4].give)
			if err.Error() != never.Error() {
				t.Errorf("%s: %q tells that the token exists, a made-up one gives %q", command.name, err, never)
			}
		}
	}
	d.opens(secret, true)
}
