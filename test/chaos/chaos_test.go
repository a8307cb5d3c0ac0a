package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

var (
	rounds = flag.Int("rounds", 50, "rounds of TestSoakKill")
	seed   = flag.Uint64("seed", 0, "seed of the choices; 0 draws one")
)

// nodeConfig names the variable that makes this binary a node instead of a test.
const nodeConfig = "CHAOS_NODE_CONFIG"

func TestMain(m *testing.M) {
	if path := os.Getenv(nodeConfig); path != "" {
		os.Exit(rig.Serve(path, os.Stdout, os.Stderr))
	}
	if dir := os.Getenv(logFolder); dir != "" {
		_, _ = fmt.Fprintln(os.Stderr, writeLog(dir, os.Stdout))
		os.Exit(1)
	}
	flag.Parse()
	os.Exit(m.Run())
}

func random(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, s))
}

// One round of each kind: at a random instant, while starting, and at each point of a commit.
func TestKill(t *testing.T) {
	s := newSite(t, random(t))
	for i, k := range kinds {
		s.round(i, k)
	}
	s.finish(len(kinds))
}

func soaking() bool { return os.Getenv("VAULTMESH_SOAK") == "1" }

// TestSoakKill is the same for as many rounds as wanted.
func TestSoakKill(t *testing.T) {
	if !soaking() {
		t.Skip("set VAULTMESH_SOAK=1 to run it; it takes about four seconds a round")
	}
	start := time.Now()
	s := newSite(t, random(t))
	for i := range *rounds {
		s.round(i, kinds[i%len(kinds)])
		if (i+1)%10 == 0 {
			t.Logf("%d rounds in %v: %d messages, %d commands acknowledged", i+1, time.Since(start).Round(time.Second), s.fleet.Acked.Load(), s.ledger.len())
		}
	}
	s.finish(*rounds)
	t.Logf("in %v", time.Since(start).Round(time.Second))
}

// A node that is killed while it writes its first receipts is born once, whatever point it had reached.
func TestKillAtBirth(t *testing.T) {
	for _, point := range points {
		for at := 1; at <= 2; at++ {
			t.Run(fmt.Sprintf("%s:%d", point, at), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				config := rig.WriteConfig(t, dir, rig.Config(t, dir))
				p := launch(t, config, fmt.Sprintf("%s:%d", point, at))
				p.Exit(t)
				p = launch(t, config, "")
				if _, err := p.Ready(); err != nil {
					t.Fatal(err)
				}
				s := &site{t: t, cfg: rig.Config(t, dir)}
				s.connect()
				s.audit()
				count := map[string]int{}
				for _, r := range s.auditor.Receipts {
					count[r.Kind]++
				}
				if count[receipt.DomainGenesis] != 1 || count[receipt.CharterAdopted] != 1 || count[receipt.OperatorEnrolled] != 2 || count[receipt.TwinDefined] != 52 {
					t.Errorf("the first receipts are %v, want one genesis, one charter, two operators, 52 twins", count)
				}
				if code := p.Terminate(t); code != 0 {
					t.Errorf("exit status %d: %s", code, p.Words())
				}
			})
		}
	}
}
