package pgserver

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// process is the server's first process.
type process struct {
	pid   int
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // how; to be read after that
}

// patience is how long the server may take to shut down before it is killed.
const patience = 30 * time.Second

// begin starts the program. Linux ties the signal for a dead parent to the thread that
// started the child, so that thread is kept for as long as the child lives.
func begin(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop asks for what PostgreSQL calls a fast shutdown: clients are sent away, and
// everything is written out.
func (p *process) stop() error { return p.signal(os.Interrupt) }

// abort asks for an immediate shutdown, which leaves recovery to the next start.
func (p *process) abort() error { return p.signal(quit()) }

func (p *process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(err, p.kill())
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
		return errors.Join(errors.New("PostgreSQL did not shut down, and was killed"), p.kill())
	}
}

// kill ends all processes of the server at once and waits until they are gone: the next
// one must not find them attached to the memory they share.
func (p *process) kill() error {
	orphans, err := killChildren(p.pid)
	if killed := p.cmd.Process.Kill(); !errors.Is(killed, os.ErrProcessDone) {
		err = errors.Join(err, killed)
	}
	<-p.ended
	for _, pid := range orphans {
		err = errors.Join(err, gone(pid))
	}
	return err
}
