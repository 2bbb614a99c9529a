package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events/durable/sqlitelog"
	"github.com/oatmill/oatmill/examples/internal/site"
	"github.com/oatmill/oatmill/oat"
	"github.com/oatmill/oatmill/quota"
)

// past writes the log of an organization that has been there for a while, as its service
// and its recorder would have.
type past struct {
	t        *testing.T
	now      time.Time // the clock, set before each thing that happens
	service  *oat.Service
	recorder *oat.Recorder
}

const day = 24 * time.Hour

// furnished is a server for an organization that has something of everything, and the
// path of a token that is in use.
func furnished(t *testing.T) (s *serving, used string) {
	t.Helper()
	data := site.Folder(filepath.Join(t.TempDir(), "data"))
	must(t, data.WithLog(t.Context(), func(log *sqlitelog.Log) (err error) {
		p := &past{t: t}
		clock := func() time.Time { return p.now }
		p.service, err = oat.New(oat.Config{Log: log, Now: clock})
		must(t, err)
		p.recorder, err = oat.NewRecorder(oat.RecorderConfig{Log: log, Interval: time.Hour, Now: clock})
		must(t, err)
		used = "/orgs/acme/tokens/" + p.happen()
		return p.recorder.Close(t.Context())
	}))
	return serveIn(t, string(data)), used
}

// happen is what happened, ending now, and the id of the token that is used most.
func (p *past) happen() string {
	today := time.Now()
	at := func(before time.Duration) { p.now = today.Add(-before) }
	at(64 * day)
	by := oat.Actor{Host: "console", Reason: "first start"}
	must(p.t, p.service.Register(p.t.Context(), by, oat.Register{Organization: "acme", Plan: quota.Team, Owners: []string{"alice", "bob"}}))
	at(60 * day)
	cluster := p.generate("alice", "production cluster", "Pulls on every node. Ask Bob.", oat.Never(),
		oat.Repository("acme/api", oat.Read), oat.Repository("acme/a-repository-with-a-name-that-is-quite-long/and-a-second-part", oat.Read))
	at(33 * day)
	build := p.generate("bob", "build", "", oat.ExpiresAt(today.Add(57*day+time.Hour)), oat.All("acme", oat.ReadWrite))
	at(30 * day)
	contractor := p.generate("alice", "contractor", "", oat.ExpiresAt(today.Add(60*day)), oat.Repository("acme/web", oat.ReadWrite))
	p.generate("bob", "nightly scan", "Looks for known holes in all images.", oat.ExpiresAt(today.Add(2*day+3*time.Hour)), oat.All("acme", oat.Read))
	at(20 * day)
	migration := p.generate("alice", "migration", "", oat.ExpiresAt(today.Add(-3*day)), oat.All("acme", oat.ReadWrite))
	for ago := 29; ago >= 0; ago-- {
		at(time.Duration(ago)*day + 3*time.Minute)
		for range 20 + 7*(ago%7) {
			p.use(cluster, "")
		}
		if ago%7 < 5 {
			p.use(build, "")
		}
		if ago < 3 {
			p.use(migration, "expired")
		}
		must(p.t, p.recorder.Flush(p.t.Context()))
	}
	at(2 * time.Hour)
	label := "build server"
	_, err := p.service.Edit(p.t.Context(), oat.Actor{User: "alice"}, oat.Edit{Organization: "acme", Token: build.ID, Label: &label})
	must(p.t, err)
	bob := oat.Actor{User: "bob", Reason: "the contract has ended"}
	must(p.t, p.service.Deactivate(p.t.Context(), bob, oat.Deactivate{Organization: "acme", Token: contractor.ID}))
	at(time.Hour)
	p.generate("alice", "laptop", "", oat.ExpiresAt(today.Add(89*day+23*time.Hour)), oat.Public())
	return cluster.ID.String()
}

func (p *past) generate(by, label, description string, expires oat.Expiry, access ...oat.Resource) oat.Token {
	p.t.Helper()
	token, _, err := p.service.Generate(p.t.Context(), oat.Actor{User: by}, oat.Generate{
		Organization: "acme", Label: label, Description: description, Expires: expires, Resources: access,
	})
	must(p.t, err)
	return token
}

func (p *past) use(token oat.Token, cause string) {
	p.recorder.Record(oat.Use{Organization: "acme", Token: token.ID, At: p.now, Cause: cause, Address: "198.51.100.7", UserAgent: "containerd/2.4.2"})
}
