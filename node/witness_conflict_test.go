package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
)

// A witness that lies anew each time writes one receipt and one file; what is proved is never crowded out.
func TestLyingWitnessFillsNothing(t *testing.T) {
	c := keyConfig(t.TempDir())
	visit(t, c, nil)
	look(t, c, func(n *Node) {
		clock := time.Now()
		n.now = func() time.Time { return clock }
		cp := n.log.Checkpoint()
		body := func(found string, size uint64) receipt.ConflictBody {
			return receipt.ConflictBody{Witness: "witness.example/liar", Found: found, Origin: n.log.Origin(), Size: cp.Size, Ours: vaultmesh.Sum(cp.Note), TheirSize: size}
		}
		size := uint64(1000)
		lie := func(found string) {
			t.Helper()
			size++
			if err := n.reportConflict(t.Context(), body(found, size), cp.Note, nil); err != nil {
				t.Fatal(err)
			}
		}
		prove := func(held string) {
			t.Helper()
			b := body("fork", 7)
			b.Proved, b.Theirs = true, vaultmesh.Sum([]byte(held))
			if err := n.reportConflict(t.Context(), b, cp.Note, []byte(held)); err != nil {
				t.Fatal(err)
			}
		}
		agree := func() {
			t.Helper()
			if err := n.clearConflicts(t.Context(), "witness.example/liar"); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(what string, receipts, files int) {
			t.Helper()
			got, err := n.log.Subject(receipt.WitnessSubject(n.cfg.Domain), 0, 10_000)
			if err != nil {
				t.Fatal(err)
			}
			kept, err := witness.Conflicts(filepath.Join(c.Data, "witness-alarms"))
			if err != nil || len(got) != receipts || len(kept) != files {
				t.Fatalf("%s: %d receipts and %d files, want %d and %d (%v)", what, len(got), len(kept), receipts, files, err)
			}
		}
		for range 300 {
			lie("rollback")
			clock = clock.Add(5 * time.Minute)
		}
		expect("a day of lies about a size", 1, 1)
		for range 20 {
			lie("rollback")
			lie("fork")
		}
		expect("another finding", 2, 2)
		for range 20 {
			agree()
			lie("fork")
			clock = clock.Add(time.Minute)
		}
		expect("agreeing and lying in turn", 2, 2)
		clock = clock.Add(unprovedEvery)
		agree()
		lie("fork")
		expect("a new conflict after it agreed", 3, 3)

		text := "vaultmesh.test\n7\n" + strings.Repeat("A", 43) + "=\n"
		for i := range 20 {
			prove(text + fmt.Sprintf("\n\u2014 someone %d\n", i))
		}
		expect("one tree with signature lines added", 4, 4)
		prove(strings.Replace(text, "AAAA", "BBBB", 1) + "\n\u2014 someone 1\n")
		expect("another tree", 5, 5)

		for range maxUnproved {
			clock = clock.Add(unprovedEvery)
			agree()
			lie("fork")
		}
		expect("many days of lies", 5+maxUnproved, 2+maxUnproved)
		prove(strings.Replace(text, "AAAA", "CCCC", 1) + "\n\u2014 someone 1\n")
		expect("a proof after them", 6+maxUnproved, 3+maxUnproved)

		files, err := os.ReadDir(filepath.Join(c.Data, "witness-alarms", "conflicts"))
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(files, func(f os.DirEntry) bool { return !strings.HasSuffix(f.Name(), ".json") }); i >= 0 {
			t.Errorf("%s is left", files[i].Name())
		}
	})
}

// What a fix names exists.
func TestBundleOfNothingNamesACommand(t *testing.T) {
	c := keyConfig(t.TempDir())
	c.State.Interval = 0 // with a root of the state its absence would be proved
	visit(t, c, func(n *Node) {
		_, err := evidence{n}.Bundle(t.Context(), httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{"twin/nowhere"}}})
		if vaultmesh.KindOf(err) != vaultmesh.NotFound || !strings.Contains(err.Error(), "`vaultmesh receipts`") {
			t.Fatalf("%v", err)
		}
	})
}
