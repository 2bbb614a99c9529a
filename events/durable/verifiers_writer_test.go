package durable_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oatmill/oatmill/events"
	"github.com/oatmill/oatmill/oat"
)

// generate makes a token and tells its secret, and where the log ended before.
func (m *member) generate(organization string) error {
	end, err := m.log.End(m.ctx)
	if err != nil {
		return err
	}
	token, secret, err := m.newToken(organization)
	if err != nil {
		return err
	}
	m.say(news{About: "generated", Token: token.ID, Organization: organization, Secret: secret.Reveal(), Position: end})
	return nil
}

func (m *member) newToken(organization string) (oat.Token, oat.Secret, error) {
	return m.service.Generate(m.ctx, owner(), oat.Generate{
		Organization: organization, Label: "ci", Expires: oat.Never(), Resources: []oat.Resource{oat.All(organization, oat.ReadWrite)},
	})
}

// revoke deactivates or deletes a token, and tells when the command returned and where in
// the log it stands.
func (m *member) revoke(o order) (err error) {
	if o.Delete {
		err = m.service.Delete(m.ctx, owner(), oat.Delete{Organization: o.Organization, Token: o.Token})
	} else {
		err = m.service.Deactivate(m.ctx, owner(), oat.Deactivate{Organization: o.Organization, Token: o.Token})
	}
	at := time.Now().UnixNano()
	if err != nil {
		return err
	}
	position, err := m.revocation(o)
	m.say(news{About: "revoked", Token: o.Token, At: at, Position: position})
	return err
}

// revocation is the position of the record that revoked a token.
func (m *member) revocation(o order) (events.Position, error) {
	for r, err := range m.log.ReadAll(m.ctx, o.After) {
		if err != nil {
			return 0, err
		}
		payload, err := r.Payload()
		if err != nil {
			return 0, err
		}
		revoked := ""
		switch p := payload.(type) {
		case *events.TokenDeactivated:
			revoked = p.Token
		case *events.TokenDeleted:
			revoked = p.Token
		}
		if revoked == o.Token.String() {
			return r.Position, nil
		}
	}
	return 0, fmt.Errorf("no record revokes %v", o.Token)
}

// loadPause is how long each writer of the load waits between two commands.
const loadPause = 8 * time.Millisecond

// load has writers generate, edit and revoke tokens until the process ends, in the
// organization of the revocations as well as in one of their own. All their tokens are
// used all the time.
func (m *member) load(writers int) error {
	recorder, err := oat.NewRecorder(oat.RecorderConfig{Log: m.log, Interval: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	for w := range writers {
		own := fmt.Sprintf("load-%d", w)
		if err := m.do(order{Do: "register", Organization: own}); err != nil {
			return errors.Join(err, recorder.Close(m.ctx))
		}
		m.work.Go(func() {
			if err := m.toil(recorder, own); err != nil && m.ctx.Err() == nil {
				m.fail(err)
			}
		})
	}
	m.work.Go(func() {
		<-m.ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := recorder.Close(ctx); err != nil {
			m.fail(err)
		}
	})
	return nil
}

// toil is one writer of the load.
func (m *member) toil(recorder *oat.Recorder, own string) error {
	ticker := time.NewTicker(loadPause)
	defer ticker.Stop()
	var token oat.Token
	for n := 0; ; n++ {
		var err error
		switch n % 4 {
		case 0:
			token, _, err = m.newToken([]string{own, watchedOrganization}[n/4%2])
		case 3:
			err = m.service.Deactivate(m.ctx, owner(), oat.Deactivate{Organization: token.Organization, Token: token.ID})
		default:
			label := fmt.Sprintf("label %d", n)
			_, err = m.service.Edit(m.ctx, owner(), oat.Edit{Organization: token.Organization, Token: token.ID, Label: &label})
		}
		if err != nil {
			return err
		}
		recorder.Record(oat.Use{Organization: token.Organization, Token: token.ID, At: time.Now()})
		m.mu.Lock()
		m.commands++
		m.mu.Unlock()
		select {
		case <-ticker.C:
		case <-m.ctx.Done():
			return nil
		}
	}
}
