package bitcoin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh/lawchain/anchor"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/test/logs"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BITCOIN_CRASH_DIR"); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// crashChild is this test binary as a node of its own: it asks for an anchor and works until that is final.
func crashChild(dir string) error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	l, err := logs.Reopen(filepath.Join(dir, "journal"))
	if err != nil {
		return err
	}
	if l.Checkpoint() == nil {
		if err := l.Commit(logs.Draft(0), logs.Draft(1), logs.Draft(2)); err != nil {
			return err
		}
	}
	var o Options
	raw, err := os.ReadFile(filepath.Join(dir, "options"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	o.Now = time.Now
	target, err := New(o)
	if err != nil {
		return err
	}
	e, err := anchor.New(anchor.Options{Log: l.Log, Journal: l.J, Actor: "node:test", Plans: []anchor.Plan{{Target: target, Burst: 100}}, Logger: slog.New(slog.DiscardHandler),
		Poll: 10 * time.Millisecond, RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	jobs, err := e.Request(ctx, anchor.Request{Key: "once", By: "operator:ada"})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	got, err := e.Wait(ctx, jobs[0].ID, anchor.Final, nil)
	stop()
	running.Wait()
	if err != nil || got.State != anchor.Final {
		return fmt.Errorf("%s, %s: %w", got.State, got.Detail, err)
	}
	if got, err = e.Job(context.Background(), got.ID); err != nil {
		return err
	}
	raw, err = json.Marshal(got)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "final"), raw, 0o600); err != nil {
		return err
	}
	return l.J.Close()
}

// TestKill kills a node, as kill -9 does, while it sends a transaction: before the Bitcoin node gets it, and after, before
// the answer comes. The node that is started again pays no second time.
func TestKill(t *testing.T) {
	b := startBTCD(t)
	for _, after := range []bool{false, true} {
		t.Run(map[bool]string{false: "between signing and sending", true: "between sending and storing"}[after], func(t *testing.T) {
			l := liar(t, b)
			target := b.funded(Options{}, 100_000, 90_000)
			dir := t.TempDir()
			o := target.o
			o.URL, o.Final, o.Poll = l.URL, 3, 10*time.Millisecond
			raw, err := json.Marshal(withoutClock(o))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "options"), raw, 0o600); err != nil {
				t.Fatal(err)
			}
			var running atomic.Pointer[os.Process]
			start := func() *exec.Cmd {
				child := exec.CommandContext(t.Context(), os.Args[0])
				child.Env = append(os.Environ(), "BITCOIN_CRASH_DIR="+dir)
				var out strings.Builder
				child.Stderr = &out
				if err := child.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if t.Failed() {
						t.Log(out.String())
					}
				})
				running.Store(child.Process)
				return child
			}
			var once sync.Once
			l.set(func(method string, params []json.RawMessage) (any, *nodeError) {
				sent := l.asked("sendrawtransaction")
				switch method {
				case "sendrawtransaction":
					killed := false
					once.Do(func() {
						if after {
							b.call(nil, method, params[0])
						}
						_ = running.Load().Kill()
						killed = true
					})
					if killed {
						return nil, &nodeError{-1, "nobody hears this"}
					}
				case "getblockcount":
					if sent > 1 || sent == 1 && after { // the network goes on
						b.mine(1)
					}
				}
				return nil, nil
			})
			if err := start().Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("it was not killed: %v", err)
			}
			if err := start().Wait(); err != nil {
				t.Fatal(err)
			}
			var j anchor.Job
			if raw, err = os.ReadFile(filepath.Join(dir, "final")); err == nil {
				err = json.Unmarshal(raw, &j)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := spv.Verify(j.Proof, j.Digest, spv.Params{Network: spv.Regtest, Confirmations: 3}); err != nil {
				t.Error(err)
			}
			if n := b.commits(target, j.Digest); n != 1 || j.Height == 0 || len(j.Block) != 64 {
				t.Errorf("%d transactions commit to the digest; block %s at %d", n, j.Block, j.Height)
			}
			t.Logf("final at height %d, fee %s %s, %d attempts to send", j.Height, j.Fee, j.Unit, l.asked("sendrawtransaction"))
		})
	}
}

// withoutClock is what of the options goes through a file.
func withoutClock(o Options) map[string]any {
	return map[string]any{"Network": o.Network, "URL": o.URL, "Credentials": o.Credentials, "Key": o.Key, "Final": o.Final, "Poll": o.Poll}
}
