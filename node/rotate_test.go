package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/receipt"
)

// keyConfig is a dev node without a grid.
func keyConfig(data string) Config {
	c := Defaults("dev")
	c.Data, c.HTTP.Listen, c.MQTT.Listen, c.Grid.Case = data, "127.0.0.1:0", "127.0.0.1:0", ""
	return c
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// gridConfig is a dev node with the smallest grid, which appends a root of the state as often as it may.
func gridConfig(data string) Config {
	c := keyConfig(data)
	c.Grid.Case, c.State.Interval = "ieee14", minStateInterval
	return c
}

// start starts a node, which the test closes.
func start(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := Start(context.Background(), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// running starts a node that is closed when the test ends.
func running(t *testing.T, c Config) *Node {
	t.Helper()
	n := start(t, c)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// visit starts a node, lets f look at it, and stops it.
func visit(t *testing.T, c Config, f func(n *Node)) {
	t.Helper()
	n := start(t, c)
	if f != nil {
		f(n)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// look opens the log of a node that does not run, as its next start will.
func look(t *testing.T, c Config, f func(n *Node)) {
	t.Helper()
	if err := withLog(t.Context(), c, false, quiet(), func(n *Node) error { f(n); return nil }); err != nil {
		t.Fatal(err)
	}
}

func keyState(t *testing.T, c Config) map[string]KeyInfo {
	t.Helper()
	list, err := ListKeys(t.Context(), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]KeyInfo{}
	for _, k := range list {
		out[k.Purpose+" "+k.State] = k
	}
	return out
}

// signedBy counts which of the log's keys signed a checkpoint.
func signedBy(t *testing.T, signed []byte, keys ...string) (n int) {
	t.Helper()
	for _, text := range keys {
		v, err := note.NewVerifier(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := note.Open(signed, note.VerifierList(v)); err == nil {
			n++
		}
	}
	return n
}

// followed verifies the newest checkpoint as an auditor who pinned the first trust file only.
func followed(t *testing.T, n *Node, first *receipt.Trust) receipt.Key {
	t.Helper()
	pin, err := receipt.ParseLogKey(first.Log.Key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := receipt.FollowKeys(n.cfg.Domain, []receipt.Key{pin}, nil, keyChain(t, n))
	if err != nil {
		t.Fatal(err)
	}
	k, err := h.Checkpoint(n.log.Checkpoint().Note)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keyChain(t *testing.T, n *Node) (chain []receipt.KeyEntry) {
	t.Helper()
	indexes, err := n.log.Subject(receipt.KeySubject(n.cfg.Domain), 0, 100)
	renewed, err2 := n.log.Subject(receipt.RenewalSubject(n.cfg.Domain), 0, 100)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	indexes = append(indexes, renewed...)
	slices.Sort(indexes)
	for _, i := range indexes {
		chain = append(chain, receipt.KeyEntry{Index: i, Receipt: logged(t, n, i)})
	}
	return chain
}

// The key of the log is handed over with an overlap in which both sign; the receipts' and the capabilities' key at once.
// An auditor who pinned the first keys follows, one who pinned none of them does not.
func TestRotation(t *testing.T) {
	c := keyConfig(t.TempDir())
	var first *receipt.Trust
	var before []byte // a checkpoint of the first key
	visit(t, c, func(n *Node) { first, before = pinned(t, c.Data), n.log.Checkpoint().Note })
	if _, err := RetireKey(t.Context(), c, KeyRetirement{Purpose: "log"}, quiet()); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("the only key was retired: %v", err)
	}
	if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: "tea"}, quiet()); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Fatalf("an unknown purpose: %v", err)
	}
	made, err := RotateKey(t.Context(), c, KeyChange{Purpose: "log", Reason: "a year has passed"}, quiet())
	if err != nil || made.State != "current" || made.File == "" {
		t.Fatalf("%+v %v", made, err)
	}
	if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: "log"}, quiet()); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("a second rotation within the overlap: %v", err)
	}
	visit(t, c, func(n *Node) {
		if got := signedBy(t, n.log.Checkpoint().Note, first.Log.Key, made.LogKey); got != 2 {
			t.Fatalf("in the overlap %d of the two keys sign", got)
		}
		followed(t, n, first)
		if _, err := n.log.Open(before); err != nil {
			t.Fatalf("a checkpoint of the first key: %v", err)
		}
		if trust := pinned(t, c.Data); trust.Log.Key != first.Log.Key || len(trust.LogKeys) != 1 || trust.LogKeys[0] != made.LogKey {
			t.Fatalf("trust file %+v", trust)
		}
	})
	if _, err := RetireKey(t.Context(), c, KeyRetirement{Purpose: "log", Reason: "everybody has the new one"}, quiet()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.Data, "keys", "log.key")); err != nil { // destroyed, as the ceremony says
		t.Fatal(err)
	}
	oldReceipt := filepath.Join(c.Data, "keys", "receipt.key")
	if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: "receipt"}, quiet()); err != nil {
		t.Fatal(err)
	}
	var token capability.Token
	if cred, err := LoadCredential(CredentialPath(c.Data, DevOperator)); err != nil {
		t.Fatal(err)
	} else if token, err = capability.Parse(cred.Token); err != nil {
		t.Fatal(err)
	}
	if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: "capability", Retire: true, Reason: "the backup was stolen"}, quiet()); err != nil {
		t.Fatal(err)
	}
	if _, err := RetireKey(t.Context(), c, KeyRetirement{Purpose: "receipt"}, quiet()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(oldReceipt); err != nil {
		t.Fatal(err)
	}
	visit(t, c, func(n *Node) {
		cp := n.log.Checkpoint().Note
		if signedBy(t, cp, first.Log.Key) != 0 || signedBy(t, cp, made.LogKey) != 1 {
			t.Fatalf("after the retirement the old key signs, or the new one does not:\n%s", cp)
		}
		if k := followed(t, n, first); k.Pinned {
			t.Fatal("the first key counts for a checkpoint after its retirement")
		}
		raw, err := n.log.Receipt(vaultmesh.LogIndex(n.log.Checkpoint().Size - 1)) // node.started
		if err != nil {
			t.Fatal(err)
		}
		r, err := receipt.Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		if r.KeyID == first.ReceiptKeys[0].ID || r.KeyID != receipt.KeyID(public(n.keys.receipts)) {
			t.Fatalf("the receipt is signed by %s", r.KeyID)
		}
		if err := clientOf(t, c.Data, DevOperator).Ready(t.Context()); err != nil {
			t.Fatalf("the renewed credential: %v", err)
		}
		if _, err := clientOf(t, c.Data, DevOperator).Checkpoint(t.Context()); err != nil {
			t.Fatalf("the renewed credential: %v", err)
		}
		provable(t, n, first)
		told := pinned(t, c.Data) // what auditors get from now on says which keys count no more, and up to where
		if len(told.Retired) != 3 {
			t.Fatalf("retired %+v", told.Retired)
		}
		for id, purpose := range map[string]string{first.ReceiptKeys[0].ID: "receipt", first.CapabilityRoots[0].ID: "capability"} {
			if i := slices.IndexFunc(told.Retired, func(r receipt.RetiredKey) bool { return r.ID == id }); i < 0 || told.Retired[i].Until == 0 {
				t.Errorf("the first key of %s is not among the retired: %+v", purpose, told.Retired)
			}
		}
		if size := n.log.Checkpoint().Size; slices.ContainsFunc(told.Retired, func(r receipt.RetiredKey) bool { return r.Until >= size }) {
			t.Errorf("retired %+v in a log of size %d", told.Retired, size)
		}
		if cred, err := LoadCredential(CredentialPath(c.Data, DevOperator)); err != nil || cred.Token == token.String() {
			t.Fatalf("the credential is still of the old root: %v", err)
		}
	})
	if s := keyState(t, c); s["log current"].File != made.File || s["log retired"].File != "" || s["capability retired"].Until == 0 || s["receipt current"].From == 0 {
		t.Fatalf("%+v", s)
	}
	// Credentials are issued by the present root also while the node runs.
	_, holder, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := IssueCapability(c.Data, c.Domain, "operator:ada", public(holder), capability.Grant{Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second), Audience: []vaultmesh.Domain{c.Domain}})
	if err != nil {
		t.Fatal(err)
	}
	root := keyState(t, c)["capability current"].Public
	if _, err := capability.Verify(issued, root, time.Now(), c.Domain); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(oldReceipt); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("a key that was destroyed is there again")
	}
}

// provable checks a bundle that two rotations lie behind: who pinned the first keys and follows accepts it, who does not
// follow refuses it, and so does who follows from other keys.
func provable(t *testing.T, n *Node, first *receipt.Trust) {
	t.Helper()
	var q httpapi.BundleQuery
	q.Subjects = []string{receipt.KeySubject(n.cfg.Domain)}
	bundle, err := evidence{n}.Bundle(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if r := receipt.Verify(bundle, first); !r.OK {
		t.Fatalf("who pinned the first keys and follows: %+v", r)
	}
	if r := receipt.Verify(bundle, pinned(t, n.cfg.Data)); !r.OK {
		t.Fatalf("who pinned all keys: %+v", r)
	}
	still := *first
	still.FollowKeys = false
	if r := receipt.Verify(bundle, &still); r.OK {
		t.Fatal("who does not follow accepts the new keys")
	}
	other := *first
	_, vk, err := note.GenerateKey(rand.Reader, first.Log.Origin)
	if err != nil {
		t.Fatal(err)
	}
	other.Log.Key = vk
	if r := receipt.Verify(bundle, &other); r.OK {
		t.Fatal("who pinned another key follows")
	}
}

// A running node's keys are not rotated under its feet.
func TestRotationNeedsTheFolder(t *testing.T) {
	c := keyConfig(t.TempDir())
	if _, err := RotateKey(t.Context(), keyConfig(filepath.Join(c.Data, "none")), KeyChange{Purpose: "log"}, quiet()); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("no folder: %v", err)
	}
	visit(t, c, func(*Node) {
		if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: "log"}, quiet()); vaultmesh.KindOf(err) != vaultmesh.Conflict {
			t.Errorf("%v", err)
		}
	})
	if files, err := keyFiles(filepath.Join(c.Data, "keys"), "log"); err != nil || len(files) != 1 {
		t.Errorf("%v %v", files, err)
	}
}

// Killed at any point, a rotation and a retirement have either happened or not, and can be done again or gone on with.
func TestRotationIsKilled(t *testing.T) {
	if dir := os.Getenv("ROTATE_TEST_DIR"); dir != "" {
		c := keyConfig(dir)
		var err error
		if os.Getenv("ROTATE_TEST_ACT") == "retire" {
			_, err = RetireKey(t.Context(), c, KeyRetirement{Purpose: "log"}, quiet())
		} else {
			_, err = RotateKey(t.Context(), c, KeyChange{Purpose: os.Getenv("ROTATE_TEST_ACT")}, quiet())
		}
		fmt.Println("not killed:", err)
		return
	}
	kill := func(c Config, act, point string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestRotationIsKilled$")
		cmd.Env = append(os.Environ(), "ROTATE_TEST_DIR="+c.Data, "ROTATE_TEST_ACT="+act, "VAULTMESH_FAILPOINT="+point+":1")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s at %s was not killed: %v %s", act, point, err, out)
		}
	}
	happens := map[string]int{"key": -1, "built": -1, "applied": 0, "synced": 1, "marked": 1} // applied: either
	for point, must := range happens {
		t.Run(point, func(t *testing.T) {
			c := keyConfig(t.TempDir())
			var first *receipt.Trust
			visit(t, c, func(n *Node) { first = pinned(t, c.Data) })
			// It can be killed again and again before it happens.
			for _, act := range []string{"log", "receipt", "capability"} {
				kill(c, act, point)
				s := keyState(t, c)
				_, rotated := s[act+" current"]
				rotated = rotated && s[act+" current"].From > 0
				if must != 0 && rotated != (must > 0) {
					t.Fatalf("%s, killed at %s, happened: %v\n%+v", act, point, rotated, s)
				}
				look(t, c, func(n *Node) {
					followed(t, n, first)
					if got := len(n.keys.signers); act == "log" && (got == 2) != rotated {
						t.Fatalf("%d keys sign, rotated %v", got, rotated)
					}
				})
				if !rotated {
					if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: act}, quiet()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if point == "key" {
				return // a retirement makes none
			}
			kill(c, "retire", point)
			_, retired := keyState(t, c)["log retired"]
			if must != 0 && retired != (must > 0) {
				t.Fatalf("a retirement, killed at %s, happened: %v", point, retired)
			}
			look(t, c, func(n *Node) { followed(t, n, first) })
			if !retired {
				if _, err := RetireKey(t.Context(), c, KeyRetirement{Purpose: "log"}, quiet()); err != nil {
					t.Fatal(err)
				}
			}
			visit(t, c, func(n *Node) {
				if followed(t, n, first).Pinned || len(n.keys.signers) != 1 {
					t.Fatal("the retirement has no effect")
				}
			})
		})
	}
}

// rootConfig adds a root in a file.
func rootConfig(t *testing.T, c Config) Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	seed := make([]byte, 32)
	if _, err := rand.Read(seed); err != nil {
		t.Fatal(err)
	}
	if err := WriteSecret(path, []byte(base64.StdEncoding.EncodeToString(seed))); err != nil {
		t.Fatal(err)
	}
	c.Keys.Root.Provider, c.Keys.Root.Key = "file", path
	return c
}

// A root vouches for the node's keys: whoever pins it alone can verify. A node whose delegation has ended, or was never
// made, does not start; one whose root is away for a while does.
func TestRootDelegates(t *testing.T) {
	c := rootConfig(t, keyConfig(t.TempDir()))
	away := c
	away.Keys.Root.Key += ".away"
	if _, err := Start(t.Context(), away, quiet()); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Fatalf("a first start without the root: %v", err)
	}
	var trust *receipt.Trust
	byRoot := func(n *Node) *receipt.KeyHistory {
		t.Helper()
		h, err := receipt.FollowKeys(n.cfg.Domain, nil, []ed25519.PublicKey{trust.KeyRoots[0].Public}, keyChain(t, n))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	visit(t, c, func(n *Node) {
		trust = pinned(t, c.Data)
		if len(trust.KeyRoots) != 1 {
			t.Fatalf("%+v", trust)
		}
		h := byRoot(n)
		if _, err := h.Checkpoint(n.log.Checkpoint().Note); err != nil {
			t.Fatal(err)
		}
		for _, purpose := range purposes {
			if live := h.Live(purpose); len(live) != 1 || live[0].Expires.Before(time.Now().Add(c.Keys.Validity-time.Hour)) {
				t.Fatalf("%s: %+v", purpose, live)
			}
		}
		if got := len(keyChain(t, n)); got != 3 {
			t.Fatalf("%d statements", got)
		}
	})
	visit(t, away, func(n *Node) { // the medium is back in its safe
		if got := len(keyChain(t, n)); got != 3 {
			t.Fatalf("%d statements", got)
		}
	})
	// A clock for the node: half of the validity later it renews, and where the root is away it goes on until the end.
	at := func(c Config, later time.Duration) (int, error) {
		t.Helper()
		n := &Node{cfg: c, actor: "node:test", now: func() time.Time { return time.Now().Add(later) }, l: quiet(), fail: make(chan error, 1)}
		defer func() { _ = n.Close() }()
		if err := n.openKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.openLog(); err != nil {
			t.Fatal(err)
		}
		err := n.renew(t.Context())
		return len(keyChain(t, n)), err
	}
	if got, err := at(away, c.Keys.Validity*2/3); err != nil || got != 3 {
		t.Fatalf("%d statements, %v", got, err)
	}
	if _, err := at(away, c.Keys.Validity+time.Minute); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Fatalf("it goes on after its delegation has ended: %v", err)
	}
	if got, err := at(c, c.Keys.Validity*2/3); err != nil || got != 6 {
		t.Fatalf("%d statements, %v; want 3 renewals", got, err)
	}
	// Another root in its place is refused.
	other := rootConfig(t, c)
	if _, err := Start(t.Context(), other, quiet()); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("another root: %v", err)
	}
	// A rotation is vouched for at the next start; who pinned the root follows without any other key.
	if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: "log", Retire: true}, quiet()); err != nil {
		t.Fatal(err)
	}
	visit(t, c, func(n *Node) {
		if _, err := byRoot(n).Checkpoint(n.log.Checkpoint().Note); err != nil {
			t.Fatal(err)
		}
	})
}

// Keys that are lost are replaced by the root, and by nobody else.
func TestRootReplacesLostKeys(t *testing.T) {
	c := rootConfig(t, keyConfig(t.TempDir()))
	visit(t, c, nil)
	first := pinned(t, c.Data)
	for _, purpose := range []string{"log", "receipt"} {
		if err := os.Remove(filepath.Join(c.Data, "keys", purpose+".key")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Start(t.Context(), c, quiet()); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("it starts without its keys: %v", err)
	}
	if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: "receipt", Retire: true, ByRoot: true}, quiet()); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Fatalf("a receipt was logged without a key of the log: %v", err)
	}
	noRoot := c
	noRoot.Keys.Root = RootConfig{Timeout: time.Second}
	if _, err := RotateKey(t.Context(), noRoot, KeyChange{Purpose: "log", Retire: true, ByRoot: true}, quiet()); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Fatalf("without a root: %v", err)
	}
	for _, purpose := range []string{"log", "receipt"} {
		if _, err := RotateKey(t.Context(), c, KeyChange{Purpose: purpose, Retire: true, ByRoot: true, Reason: "the disk is gone"}, quiet()); err != nil {
			t.Fatal(err)
		}
	}
	visit(t, c, func(n *Node) {
		pin, err := receipt.ParseLogKey(first.Log.Key)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := receipt.FollowKeys(c.Domain, []receipt.Key{pin}, nil, keyChain(t, n)); err != nil {
			t.Fatal(err)
		} else if _, err := h.Checkpoint(n.log.Checkpoint().Note); vaultmesh.KindOf(err) != vaultmesh.Denied {
			t.Fatalf("who pinned the lost key alone cannot know: %v", err)
		}
		h, err := receipt.FollowKeys(c.Domain, []receipt.Key{pin}, []ed25519.PublicKey{first.KeyRoots[0].Public}, keyChain(t, n))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Checkpoint(n.log.Checkpoint().Note); err != nil {
			t.Fatal(err)
		}
	})
}
