package invariants_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/oatmill/oatmill/events/memlog"
	"github.com/oatmill/oatmill/oat/oattest/invariants"
)

// Several players on one log, and what they were told, judged. Real processes and servers
// are where the durable logs are. It fails after the changes to the code that the
// properties name, as far as they concern commands.
func TestPlayAndJudge(t *testing.T) {
	log := memlog.New()
	defer log.Close()
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	const players = 3
	var journals [players]bytes.Buffer
	var raging, all sync.WaitGroup
	raging.Add(players)
	for i := range players {
		all.Go(func() {
			err := invariants.Player{
				Log: log, Name: fmt.Sprint("player", i), Seed: uint64(i), Journal: &journals[i], Goroutines: 2,
				Settle: func() { raging.Done(); raging.Wait() },
			}.Play(ctx)
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	report := invariants.Judge(t, log, io.Reader(&journals[0]), &journals[1], &journals[2])
	t.Log(report)
	if report.Outcomes["done"] < 50 || report.Outcomes["refused"] < 50 || report.Records < 50 {
		t.Errorf("too little happened: %s", report)
	}
}
