package peers

import (
	"os"
	"testing"
)

// TestPeers says which peers are there and which tests are skipped for the lack of one. With VAULTMESH_FETCH_PEERS=1,
// as "make peers" sets it, it first fetches those that can be.
func TestPeers(t *testing.T) {
	missing := 0
	for _, p := range List() {
		if os.Getenv("VAULTMESH_FETCH_PEERS") == "1" {
			if err := p.Fetch(); err != nil {
				t.Logf("cannot fetch %s: %v", p.Name, err)
			}
		}
		err := p.Present(t.Context())
		switch {
		case err == nil:
			t.Logf("present  %s", p.Name)
		case p.Debian != "":
			missing++
			t.Logf("ABSENT   %s: apt-get install %s", p.Name, p.Debian)
		default:
			missing++
			t.Logf("ABSENT   %s: %v", p.Name, err)
		}
	}
	if missing > 0 && os.Getenv("VAULTMESH_REQUIRE_PEERS") == "1" {
		t.Fatalf("%d peers are absent", missing)
	}
	t.Logf("%d peers are absent; the tests that need them are skipped", missing)
}
