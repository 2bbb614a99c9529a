package relay

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/oatmill/oatmill/events"
)

// saveTimeout is how long one save may take. Saves are made although the caller's
// context has ended, because that is when they matter most, so they need a limit of
// their own.
const saveTimeout = 5 * time.Second

// bookmark is the stored position of one reader.
type bookmark struct {
	store events.Checkpoints
	name  string
	saved events.Position
}

func openBookmark(ctx context.Context, store events.Checkpoints, name string) (*bookmark, error) {
	if len(name) > events.MaxText || !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
		return nil, fmt.Errorf("%w: checkpoint name %q: want UTF-8 without NUL of at most %d bytes", events.ErrInvalid, clip(name), events.MaxText)
	}
	saved, err := store.LoadCheckpoint(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("load checkpoint %s: %w", name, err)
	}
	return &bookmark{store: store, name: name, saved: saved}, nil
}

// save stores p unless it is stored already. It outlives ctx.
func (b *bookmark) save(ctx context.Context, p events.Position) error {
	if p <= b.saved {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := b.store.SaveCheckpoint(ctx, b.name, p); err != nil {
		return fmt.Errorf("save checkpoint %s at %d: %w", b.name, p, err)
	}
	b.saved = p
	return nil
}

// progress saves the position of a subscription now and then: when every messages
// were acked, and when interval has passed since the first progress that is not
// saved. Both bounds hold at once, because every save begins them anew.
type progress struct {
	every    int
	interval time.Duration
	failed   func(error) // told of a save that failed and will be tried again
	ctx      context.Context

	mu       sync.Mutex
	bookmark *bookmark
	position events.Position
	acked    int         // since the last attempt to save
	timer    *time.Timer // runs while there is something to save
	closed   bool
}

// skip notes that everything up to p needs no ack.
func (p *progress) skip(to events.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position = to
	p.arm()
}

// ack notes that the message of position was acked, and everything before it.
func (p *progress) ack(position events.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position = position
	p.acked++
	p.arm()
	if p.acked >= p.every {
		p.save()
	}
}

// idle saves what was acked, now that nothing else is there to do. Skipped records
// alone can wait for the timer: while others write to the log, a group that skips
// it all comes here after each append.
func (p *progress) idle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acked > 0 {
		p.save()
	}
}

// close saves what there is to save, for the last time.
func (p *progress) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.disarm()
	return p.bookmark.save(p.ctx, p.position)
}

func (p *progress) arm() {
	if p.timer == nil {
		p.timer = time.AfterFunc(p.interval, p.due)
	}
}

func (p *progress) disarm() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// due runs on the timer's own goroutine, so that a position is saved in time also
// while a handler takes long.
func (p *progress) due() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.save()
	}
}

// save is called with the lock held. After a failure the bounds begin anew, which
// is what tries again.
func (p *progress) save() {
	p.disarm()
	p.acked = 0
	if err := p.bookmark.save(p.ctx, p.position); err != nil {
		p.failed(err)
		p.arm()
	}
}
