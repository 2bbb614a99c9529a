package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// Bounds of a page: so many messages, and no further one when there is so much data. The
// first page is small, because a reader may want no more, and each is four times as large
// as the one before.
const (
	firstPage = 32
	pageSize  = 512
	pageBytes = 2 << 10 // for each message there may be, on average
)

// pager reads the messages of a subject, or of the whole stream, page by page, from any
// server that has a copy. One that lags behind gives less than the stream holds; which
// is seen, because the last sequence there must be is known beforehand from the leader.
type pager struct {
	log     *Log
	subject string // "" for all
	next    uint64 // the sequence to go on at
	upTo    uint64 // the sequence that must be reached; it is there

	inbox   string
	sub     *nats.Subscription
	answers chan *nats.Msg
	asked   bool
	short   int // how many pages in a row brought nothing
	size    int // of the next page
}

func (l *Log) pager(subject string, from, upTo uint64) *pager {
	return &pager{log: l, subject: subject, next: from, upTo: upTo, size: firstPage}
}

// done tells whether everything that must be reached was.
func (p *pager) done() bool { return p.next > p.upTo }

// page is the next messages, at least one. It must not be called when the pager is
// done.
func (p *pager) page(ctx context.Context) (page []message, err error) {
	err = p.log.retry(ctx, func() error {
		if p.short >= 3 {
			page, err = p.single(ctx)
		} else {
			page, err = p.many(ctx)
		}
		if err == nil && len(page) == 0 {
			p.short++
			err = fmt.Errorf("%w: a server lacks sequence %d of stream %s", errAgain, p.upTo, p.log.cfg.Stream)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	p.short = 0
	p.next = page[len(page)-1].seq + 1
	p.size = min(4*p.size, pageSize)
	return page, nil
}

// prefetchAt is the message of a page at which the next page is asked for. A reader that
// takes only a few probably wants no other page.
const prefetchAt = 8

// ahead asks for the next page, when the caller works on message i of this one, so that
// it is on its way meanwhile.
func (p *pager) ahead(i int) {
	if i == prefetchAt && !p.done() && p.short == 0 && !p.asked {
		// What is wrong now will be wrong again when the page is wanted.
		_ = p.request()
	}
}

// single asks the leader for one message.
func (p *pager) single(ctx context.Context) ([]message, error) {
	subject := p.subject
	if subject == "" {
		subject = ">"
	}
	m, err := p.log.tryLeader(ctx, p.log.cfg.Stream, get{Seq: p.next, Next: subject})
	if err != nil || m == nil {
		return nil, err
	}
	return []message{*m}, nil
}

// request asks for a page. Answers to different requests never mix, because each has
// an address of its own.
func (p *pager) request() error {
	p.end()
	p.answers = make(chan *nats.Msg, p.size+2)
	p.inbox = p.log.nc.NewInbox()
	sub, err := p.log.nc.ChanSubscribe(p.inbox, p.answers)
	if err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	p.sub = sub
	body, err := json.Marshal(struct {
		Seq      uint64 `json:"seq"`
		Next     string `json:"next_by_subj,omitempty"`
		Batch    int    `json:"batch"`
		MaxBytes int    `json:"max_bytes"`
	}{p.next, p.subject, p.size, p.size * pageBytes})
	if err != nil {
		return err
	}
	if err := p.log.nc.PublishRequest(p.log.api+"DIRECT.GET."+p.log.cfg.Stream, p.inbox, body); err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	p.asked = true
	return nil
}

// many collects a page that any server answers.
func (p *pager) many(ctx context.Context) ([]message, error) {
	if !p.asked {
		if err := p.request(); err != nil {
			return nil, err
		}
	}
	p.asked = false
	ctx, cancel := context.WithTimeout(ctx, p.log.cfg.RequestTimeout)
	defer cancel()
	page := make([]message, 0, p.size)
	for before := "0"; ; {
		select {
		case m := <-p.answers:
			found, last, err := p.read(m)
			if err != nil || last {
				return page, err
			}
			if added(m, "Nats-Last-Sequence") != before {
				return p.cut(page)
			}
			before = added(m, "Nats-Sequence")
			page = append(page, found)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: a page from sequence %d of stream %s: %w", errAgain, p.next, p.log.cfg.Stream, ctx.Err())
		}
	}
}

// cut is what came of a page before messages were lost, as they are when the connection is
// made anew in the middle of it. The rest of the page is of no use.
func (p *pager) cut(page []message) ([]message, error) {
	p.end()
	if len(page) == 0 {
		return nil, fmt.Errorf("%w: the beginning of a page from sequence %d of stream %s was lost", errAgain, p.next, p.log.cfg.Stream)
	}
	return page, nil
}

// read is a message of an answer. last tells that the answer ends without one.
func (p *pager) read(m *nats.Msg) (found message, last bool, err error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204", "404":
		return message{}, true, nil
	case "503":
		return message{}, false, fmt.Errorf("%w: %w", errAgain, nats.ErrNoResponders)
	default:
		return message{}, false, fmt.Errorf("read stream %s: %s %s", p.log.cfg.Stream, status, m.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(added(m, "Nats-Sequence"), 10, 64)
	if err != nil || seq < p.next {
		return message{}, false, errors.New("an answer without a sequence")
	}
	return message{seq: seq, subject: added(m, "Nats-Subject"), header: m.Header, data: m.Data}, false, nil
}

// added is a header that the server puts behind those of the message, which may have
// one of the same name.
func added(m *nats.Msg, name string) string {
	if values := m.Header[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// end lets go of what is still to come.
func (p *pager) end() {
	if p.sub != nil {
		// Fails only where the connection is closed, and the subscription with it.
		_ = p.sub.Unsubscribe()
		p.sub, p.asked = nil, false
	}
}
