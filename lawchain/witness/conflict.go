package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

// Conflict is the proof that a log signed two different trees of one size. Both notes are kept exactly as they came: each
// verifies with the log's key by any tool that reads signed notes.
//
// A node keeps conflicts about its own log in the same form, with the two fields that are empty for a witness: Held is
// what the witness holds (empty where it did not show it), Offered what the node had, and the sizes may differ.
type Conflict struct {
	Found   string    `json:"found,omitempty"`   // equivocation, fork or rollback
	Witness string    `json:"witness,omitempty"` // key name
	Origin  string    `json:"origin"`
	Size    uint64    `json:"size,string"`
	Seen    time.Time `json:"seen"`
	Held    string    `json:"held"`    // signed note that this witness holds, and may have cosigned
	Offered string    `json:"offered"` // signed note that came later
}

// maxConflicts bounds what one witness keeps; a log that equivocates needs no more proof than the first.
const maxConflicts = 1000

// Check verifies that the conflict is one: both notes are checkpoints of the origin, signed by v, of one size, and with
// different roots.
func (c Conflict) Check(v note.Verifier) error {
	const op = "witness.conflict"
	var both [2]log.Checkpoint
	for i, text := range []string{c.Held, c.Offered} {
		cp, _, err := parseText([]byte(text))
		if err != nil {
			return err
		}
		if _, err := note.Open([]byte(text), note.VerifierList(v)); err != nil {
			return vaultmesh.Errorf(vaultmesh.Denied, op, c.Origin, "note %d is not signed by that key", i+1).Because(err)
		}
		both[i] = cp
	}
	if both[0].Origin != c.Origin || both[1].Origin != c.Origin || both[0].Size != both[1].Size || both[0].Size != c.Size || string(both[0].Hash) == string(both[1].Hash) {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, c.Origin, "the two notes do not contradict each other")
	}
	return nil
}

// conflictName is the same for the same two trees, whoever added signatures of their own to a note.
func conflictName(origin string, size uint64, held, offered vaultmesh.Digest) string {
	d := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%x\n%x\n", origin, size, held, offered))
	return hex.EncodeToString(d[:16]) + ".json"
}

// Conflicts reads the conflicts that the witness in a folder kept, oldest first. It may run beside the server.
func Conflicts(dir string) ([]Conflict, error) {
	const op = "witness.conflicts"
	folder := filepath.Join(dir, "conflicts")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, dir, "it is not the folder of a witness").Because(err)
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot read").Because(err)
	}
	var out []Conflict
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		path := filepath.Join(folder, e.Name())
		b, err := os.ReadFile(path)
		var c Conflict
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "the evidence cannot be read").Because(err)
		}
		out = append(out, c)
	}
	sortConflicts(out)
	return out, nil
}

func sortConflicts(list []Conflict) {
	slices.SortStableFunc(list, func(a, b Conflict) int { return a.Seen.Compare(b.Seen) })
}
