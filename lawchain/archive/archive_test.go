package archive_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/archive"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/test/peers"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("VAULTMESH_ARCHIVE_CHILD"); dir != "" {
		child(dir)
		return
	}
	logs.Main(m)
}

func archiver(l *logs.Log, b bucket.Bucket, change func(*archive.Options)) *archive.Archiver {
	o := archive.Options{Log: l.Log, Bucket: b, Signer: logs.Receipts, Retention: time.Hour,
		Proofs: func(of archive.ProofsOf) ([]archive.Part, error) {
			return []archive.Part{{Name: "1/rfc3161.tsr", Data: []byte("a proof made after " + of.Since.String())}}, nil
		}}
	if change != nil {
		change(&o)
	}
	return archive.New(o)
}

// check judges the archive and what is restored from it.
func check(t *testing.T, b bucket.Bucket, verdict fsck.Verdict, says string) *fsck.Report {
	t.Helper()
	pins, err := fsck.PinTrust(logs.Trust())
	if err != nil {
		t.Fatal(err)
	}
	r, err := fsck.Archive(t.Context(), b, fsck.Options{Pins: pins, Now: logs.Start.Add(100 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, p := range r.Problems {
		text += p.String() + "\n"
	}
	if text += r.Reason + strings.Join(r.Notes, "\n"); r.Verdict != verdict || !strings.Contains(text, says) {
		t.Fatalf("the archive is %s, want %s with %q:\n%s", r.Verdict, verdict, says, text)
	}
	return r
}

func receiptKeys() []receipt.Key {
	return []receipt.Key{{Purpose: receipt.PurposeReceipt, Public: logs.Receipts.Pub()}}
}

func restore(t *testing.T, b bucket.Bucket) *archive.Restored {
	t.Helper()
	dst := logs.Bucket(t, t.TempDir())
	done, err := archive.Restore(t.Context(), b, dst, receiptKeys())
	if err != nil {
		t.Fatal(err)
	}
	pins, err := fsck.PinTrust(logs.Trust())
	if err != nil {
		t.Fatal(err)
	}
	r, err := fsck.Published(t.Context(), dst, fsck.Options{Pins: pins, Now: logs.Start.Add(100 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != fsck.Sound || r.Size != done.Size || r.Root != done.Root {
		t.Fatalf("what is restored is %+v", r)
	}
	if _, err := archive.Restore(t.Context(), b, dst, nil); err == nil || vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("a second restore into the same folder: %v", err)
	}
	return done
}

func TestArchive(t *testing.T) {
	for name, address := range map[string]func(*testing.T) string{
		"memory": func(*testing.T) string { return "mem://" }, "folder": func(t *testing.T) string { return t.TempDir() },
		"s3 with object lock": func(t *testing.T) string { return peers.Versity(t, t.TempDir()).Bucket(t, "kept", true) },
	} {
		t.Run(name, func(t *testing.T) {
			l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, address(t))
			defer l.Close(t)
			a := archiver(l, b, nil)
			if err := a.Archive(t.Context()); err != nil {
				t.Fatalf("an empty log: %v", err)
			}
			total := uint64(0)
			for i, n := range []int{1, 300, 256, 77} {
				l.Grow(t, n)
				total += uint64(n)
				if i%2 == 0 {
					a = archiver(l, b, nil) // a restart goes on where the archive ends
				}
				for range 2 { // the second has nothing to do
					if err := a.Archive(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if r := check(t, b, fsck.Sound, ""); r.Size != total || r.Receipts != total {
					t.Fatalf("%d of %d receipts are archived", r.Size, total)
				}
			}
			if n, err := archive.List(t.Context(), b); err != nil || n != 4 {
				t.Fatalf("%d segments, %v", n, err)
			}
			if done := restore(t, b); done.Size != total || done.Segments != 4 || done.Proofs != 4 || done.Shadowed != 0 {
				t.Fatalf("%+v", done)
			}
		})
	}
}

// Proofs of the same name are told apart; one that is too large is left out and does not stop the archive.
func TestProofs(t *testing.T) {
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
	defer l.Close(t)
	l.Grow(t, 3)
	var asked []archive.ProofsOf
	now := logs.Start
	a := archiver(l, b, func(o *archive.Options) {
		o.Now = func() time.Time { return now }
		o.Proofs = func(of archive.ProofsOf) ([]archive.Part, error) {
			asked = append(asked, of)
			return []archive.Part{{Name: "3/ethereum.json", Data: []byte("one")}, {Name: "3/ethereum.json", Data: []byte("two")}, {Name: "large", Data: make([]byte, 2<<20)}}, nil
		}
	})
	for range 2 {
		if err := a.Archive(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Grow(t, 3)
		now = now.Add(time.Hour)
	}
	if len(asked) != 2 || !asked[0].Since.IsZero() || !asked[1].Since.Equal(logs.Start) || asked[1].From != 3 || asked[1].To != 6 {
		t.Fatalf("%+v", asked)
	}
	m, _, err := archive.Read(t.Context(), b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Objects) != 4 || m.Object("anchors/3/ethereum.json").Size != 3 || m.Object("anchors/3/ethereum.json-2").Size != 3 {
		t.Fatalf("%+v", m.Objects)
	}
	check(t, b, fsck.Sound, "")
}

// A backlog is archived in several segments; while it is under way, the archive says that its end is missing.
func TestBacklog(t *testing.T) {
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
	defer l.Close(t)
	l.Grow(t, 2500)
	small := func(o *archive.Options) { o.Segment = 1000 }
	if err := archiver(l, &logs.Breaking{Bucket: b, Left: 10}, small).Archive(t.Context()); !errors.Is(err, logs.ErrBroken) {
		t.Fatal(err)
	}
	check(t, b, fsck.Damaged, "its end is missing")
	if err := archiver(l, b, small).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, b, fsck.Sound, "")
	if done := restore(t, b); done.Size != 2500 || done.Segments != 3 {
		t.Fatalf("%+v", done)
	}
}

// Wherever archiving is cut short, the archive stays sound and the next attempt goes on.
func TestCutShort(t *testing.T) {
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
	defer l.Close(t)
	l.Grow(t, 20)
	if err := archiver(l, b, nil).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	for round := range 16 {
		l.Grow(t, 300)
		err := archiver(l, &logs.Breaking{Bucket: b, Left: 1 + round/2, After: round%2 == 0}, nil).Archive(t.Context())
		if err != nil && !errors.Is(err, logs.ErrBroken) {
			t.Fatal(err)
		}
		check(t, b, fsck.Sound, "")
	}
	if err := archiver(l, b, nil).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := check(t, b, fsck.Sound, ""); r.Size != 20+16*300 {
		t.Fatal(r.Size)
	}
}

// Run goes on through a failure and says so while it lasts, archives at every interval, and once more when the node stops.
func TestRun(t *testing.T) {
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
	defer l.Close(t)
	l.Grow(t, 300)
	more, grown := make(chan int), make(chan error)
	defer close(more)
	go func() { // the journal lives outside of the bubble
		for i := range more {
			grown <- l.Commit(logs.Draft(i))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		store := &logs.Breaking{Bucket: b, Left: 3}
		a := archiver(l, store, func(o *archive.Options) { o.Interval, o.Retention = time.Hour, 100*365*24*time.Hour })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); a.Run(ctx) }()
		began := time.Now()
		time.Sleep(time.Minute) // of the bubble's own clock
		synctest.Wait()
		if since, err := a.Failing(); !errors.Is(err, logs.ErrBroken) || !since.Equal(began) {
			t.Errorf("after a minute it fails since %v: %v, want since %v", since, err, began)
		}
		check(t, b, fsck.Damaged, "")
		store.Left = 1 << 30
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if _, err := a.Failing(); err != nil {
			t.Error(err)
		}
		size := func(want uint64) {
			t.Helper()
			if r := check(t, b, fsck.Sound, ""); r.Size != want {
				t.Errorf("%d receipts are archived, want %d", r.Size, want)
			}
		}
		size(300)
		grow := func(i int) {
			more <- i
			if err := <-grown; err != nil {
				t.Fatal(err)
			}
		}
		grow(300)
		time.Sleep(time.Hour)
		synctest.Wait()
		size(301)
		grow(301)
		cancel()
		<-ended
		size(302)
	})
}

// child archives until it is killed.
func child(dir string) {
	l, err := logs.Reopen(dir)
	if err == nil {
		var b bucket.Bucket
		if b, err = bucket.Open(context.Background(), os.Getenv("VAULTMESH_ARCHIVE_TO")); err == nil {
			err = archive.New(archive.Options{Log: l.Log, Bucket: b, Signer: logs.Receipts, Retention: time.Hour}).Archive(context.Background())
		}
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// kill -9 at a random instant while it uploads to S3 with object lock.
func TestKilled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := peers.Versity(t, t.TempDir())
	address, dir := s.Bucket(t, "kept", true), t.TempDir()
	total, killed := 0, 0
	for range 5 {
		l := logs.Open(t, dir)
		l.Grow(t, 1000)
		total += 1000
		l.Close(t)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "VAULTMESH_ARCHIVE_CHILD="+dir, "VAULTMESH_ARCHIVE_TO="+address)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(20+rng.IntN(200))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			killed++
		}
		kill.Stop()
		if n, err := archive.List(t.Context(), logs.Bucket(t, address)); err != nil {
			t.Fatal(err)
		} else if n > 0 {
			check(t, logs.Bucket(t, address), fsck.Sound, "")
		}
	}
	t.Logf("%d of 5 were killed before their end", killed)
	l := logs.Open(t, dir)
	defer l.Close(t)
	if err := archiver(l, logs.Bucket(t, address), nil).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := check(t, logs.Bucket(t, address), fsck.Sound, ""); r.Size != uint64(total) {
		t.Fatalf("%d of %d receipts", r.Size, total)
	}
}

// Object lock: an intruder with all rights over the bucket cannot take the evidence away, and is found out.
func TestIntruder(t *testing.T) {
	s := peers.Versity(t, t.TempDir())
	address := s.Bucket(t, "kept", true)
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, address)
	defer l.Close(t)
	l.Grow(t, 600)
	if err := archiver(l, b, func(o *archive.Options) { o.Lock = archive.LockRequired }).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, _, err := archive.Read(t.Context(), b, 0)
	if err != nil {
		t.Fatal(err)
	}
	if m.Lock != "compliance" || m.RetainUntil == nil || m.RetainUntil.Sub(m.Created) != time.Hour {
		t.Fatalf("%+v", m.Manifest)
	}
	name, victim := "kept", m.Path(m.Object("entries/000001"))
	out, err := s.Client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &name})
	if err != nil || len(out.Versions) == 0 {
		t.Fatal(err)
	}
	for _, v := range out.Versions {
		if _, err := s.Client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &name, Key: v.Key, VersionId: v.VersionId}); err == nil {
			t.Errorf("%s was deleted under retention", *v.Key)
		}
	}
	yes := true
	for _, v := range out.Versions[:1] { // also with the right that opens governance mode
		if _, err := s.Client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &name, Key: v.Key, VersionId: v.VersionId, BypassGovernanceRetention: &yes}); err == nil {
			t.Errorf("%s was deleted under compliance", *v.Key)
		}
	}
	check(t, b, fsck.Sound, "")
	// A delete without a version puts a marker in front: the manifest is hidden, and found.
	if err := b.Delete(t.Context(), archive.ManifestPath(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), archive.ManifestPath(0), 1<<20); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Fatalf("the manifest is not hidden: %v", err)
	}
	check(t, b, fsck.Damaged, "was deleted or overwritten")
	if done := restore(t, b); done.Size != 600 || done.Shadowed != 1 {
		t.Fatalf("%+v", done)
	}
	if err := archiver(l, b, nil).Archive(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("the archiver goes on: %v", err)
	}
	unhide(t, s, name, archive.ManifestPath(0))
	check(t, b, fsck.Sound, "")
	// A plain put over it either fails, or hides it under a newer version: that is found out, and undone by reading below.
	err = b.Replace(t.Context(), victim, []byte("forged"))
	if err == nil {
		check(t, b, fsck.Damaged, "was overwritten")
		if done := restore(t, b); done.Size != 600 || done.Shadowed != 1 {
			t.Fatalf("%+v", done)
		}
	} else {
		t.Logf("the store refuses the overwrite: %v", err)
		check(t, b, fsck.Sound, "")
	}
}

// unhide removes the delete markers of an object, as the owner of the bucket would.
func unhide(t *testing.T, p *peers.S3, bucket, key string) {
	t.Helper()
	out, err := p.Client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &key})
	if err != nil || len(out.DeleteMarkers) == 0 {
		t.Fatalf("%d delete markers: %v", len(out.DeleteMarkers), err)
	}
	for _, m := range out.DeleteMarkers {
		if _, err := p.Client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, VersionId: m.VersionId}); err != nil {
			t.Fatal(err)
		}
	}
}

// Without object lock in the bucket: required refuses, auto archives and says so in the manifest.
func TestNoLock(t *testing.T) {
	s := peers.Versity(t, t.TempDir())
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, s.Bucket(t, "plain", false))
	defer l.Close(t)
	l.Grow(t, 3)
	err := archiver(l, b, func(o *archive.Options) { o.Lock = archive.LockRequired }).Archive(t.Context())
	if err == nil || vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Fatalf("it is archived without object lock: %v", err)
	}
	if err := archiver(l, b, nil).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, _, err := archive.Read(t.Context(), b, 0); err != nil || m.Lock != "none" || m.RetainUntil != nil {
		t.Fatalf("%+v %v", m, err)
	}
}

// A full store, one that stands still, and none at all: an error each time, and the same archiver goes on afterwards.
func TestFullBucket(t *testing.T) {
	s := peers.SmallVersity(t, 1<<20)
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, s.Bucket(t, "small", false))
	defer l.Close(t)
	l.Grow(t, 20)
	a := archiver(l, b, nil)
	if err := a.Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Replace(t.Context(), "other", make([]byte, 700<<10)); err != nil {
		t.Fatal(err)
	}
	l.Grow(t, 1000)
	if err := a.Archive(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Fatalf("a full store: %v", err)
	}
	check(t, b, fsck.Sound, "")
	if err := b.Delete(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if err := a.Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := check(t, b, fsck.Sound, ""); r.Size != 1020 {
		t.Fatal(r.Size)
	}
}

func TestUnreachable(t *testing.T) {
	s := peers.Versity(t, t.TempDir())
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, s.Bucket(t, "kept", true))
	defer l.Close(t)
	l.Grow(t, 20)
	a := archiver(l, b, func(o *archive.Options) { o.Timeout = 300 * time.Millisecond })
	s.Pause()
	if err := a.Archive(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Fatalf("a store that stands still: %v", err)
	}
	s.Resume()
	a = archiver(l, b, nil)
	if err := a.Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, b, fsck.Sound, "")
	s.Kill()
	l.Grow(t, 20)
	if err := a.Archive(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Fatalf("no store: %v", err)
	}
}

// An archive that the log does not extend is refused, and not touched.
func TestOtherLog(t *testing.T) {
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
	defer l.Close(t)
	l.Grow(t, 20)
	if err := archiver(l, b, nil).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, grow := range map[string]func(t *testing.T, l *logs.Log){
		"shorter": func(t *testing.T, l *logs.Log) { l.Grow(t, 5) },
		"forked":  func(t *testing.T, l *logs.Log) { l.Put(t, logs.Draft(1)); l.Grow(t, 30) },
	} {
		t.Run(name, func(t *testing.T) {
			other := logs.Open(t, t.TempDir())
			defer other.Close(t)
			grow(t, other)
			if err := archiver(other, b, nil).Archive(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
				t.Fatalf("%v", err)
			}
			if n, err := archive.List(t.Context(), b); err != nil || n != 1 {
				t.Fatal(n, err)
			}
		})
	}
}

// Any byte of any object: the check finds the change, and so does the restore.
func TestEveryByte(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
	defer l.Close(t)
	for _, n := range []int{5, 30} {
		l.Grow(t, n)
		if err := archiver(l, b, nil).Archive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	if err := b.List(t.Context(), "", func(o bucket.Object) (bool, error) { names = append(names, o.Name); return true, nil }); err != nil {
		t.Fatal(err)
	}
	if len(names) != 8 {
		t.Fatalf("%q", names)
	}
	for _, name := range names {
		good, err := b.Get(t.Context(), name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			bad := bytes.Clone(good)
			i := rng.IntN(len(bad))
			bad[i] ^= 1 << rng.IntN(8)
			if err := b.Replace(t.Context(), name, bad); err != nil {
				t.Fatal(err)
			}
			check(t, b, fsck.Damaged, "")
			if _, err := archive.Restore(t.Context(), b, logs.Bucket(t, "mem://"), receiptKeys()); err == nil {
				t.Fatalf("with byte %d of %s changed it is restored", i, name)
			}
		}
		if err := b.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if name != names[1] { // the absence of the last manifest alone looks like an archive that ends there
			check(t, b, fsck.Damaged, "")
		}
		if err := b.Replace(t.Context(), name, good); err != nil {
			t.Fatal(err)
		}
	}
	check(t, b, fsck.Sound, "")
}

func FuzzManifest(f *testing.F) {
	l, b := logs.Open(f, f.TempDir()), logs.Bucket(f, "mem://")
	l.Grow(f, 3)
	if err := archiver(l, b, nil).Archive(context.Background()); err != nil {
		f.Fatal(err)
	}
	l.Close(f)
	good, err := b.Get(context.Background(), archive.ManifestPath(0), archive.MaxManifest)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"payload":"","payloadType":"x","signatures":[]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := archive.Decode(file)
		if err != nil {
			return
		}
		// What verifies has one form only. Earlier runs may have kept manifests of other instants.
		canonical, err := receipt.Canonical(file, receipt.Limits{Bytes: archive.MaxManifest, Depth: 16})
		if m.CheckSignature(logs.Receipts.Pub()) == nil && (err != nil || !bytes.Equal(file, canonical)) {
			t.Fatalf("a manifest in another form verifies: %s", file)
		}
	})
}

// A manifest counts by a key that counted for a log of its size: whoever holds a retired one cannot write the archive anew.
func TestManifestByRetiredKey(t *testing.T) {
	thief := keys.Named("thief of a key that was retired long ago")
	for _, until := range []uint64{1, 300, 299} {
		l := logs.Open(t, t.TempDir())
		l.Grow(t, 300)
		b := logs.Bucket(t, t.TempDir())
		if err := archiver(l, b, func(o *archive.Options) { o.Signer = thief; o.Proofs = nil }).Archive(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Close(t)
		trust := logs.Trust()
		trust.ReceiptKeys = append(trust.ReceiptKeys, receipt.TrustedKey{ID: thief.KeyID(), Public: thief.Pub()})
		trust.Retired = append(trust.Retired, receipt.RetiredKey{ID: thief.KeyID(), Until: until})
		pins, err := fsck.PinTrust(trust)
		if err != nil {
			t.Fatal(err)
		}
		r, err := fsck.Archive(t.Context(), b, fsck.Options{Pins: pins, Now: logs.Start.Add(100 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = archive.Restore(t.Context(), b, logs.Bucket(t, "mem://"), pins.Keys)
		if counts := until >= 300; (r.Verdict == fsck.Sound) != counts || (err == nil) != counts || err != nil && vaultmesh.KindOf(err) != vaultmesh.Denied {
			t.Errorf("retired at %d, of 300 receipts: %s, restored with %v", until, r.Verdict, err)
		}
	}
}

// What a check keeps of a segment does not grow with what is in it: an archive of many years is checked in little memory.
func TestCheckKeepsLittleOfASegment(t *testing.T) {
	const segments, proofs = 60, 120
	l := logs.Open(t, t.TempDir())
	defer l.Close(t)
	l.Grow(t, segments)
	b := logs.Bucket(t, "mem://")
	n := 0
	a := archiver(l, b, func(o *archive.Options) {
		o.Segment = 1
		o.Proofs = func(archive.ProofsOf) (out []archive.Part, err error) {
			for range proofs {
				n++
				out = append(out, archive.Part{Name: fmt.Sprintf("1234567%d/rfc3161-0.tsr", n), Data: []byte("same")})
			}
			return out, nil
		}
	})
	if err := a.Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	pins, err := fsck.PinTrust(logs.Trust())
	if err != nil {
		t.Fatal(err)
	}
	before, held := heap(), uint64(0)
	r, err := fsck.Archive(t.Context(), b, fsck.Options{Pins: pins, Workers: 1, Now: logs.Start.Add(100 * time.Hour), Progress: func(done, total uint64) {
		if done == total {
			held = heap()
		}
	}})
	if err != nil || r.Verdict != fsck.Sound {
		t.Fatal(err, r)
	}
	if each := (max(held, before) - before) / segments; held == 0 || each > 8<<10 {
		t.Errorf("%d bytes are kept of each segment of %d proofs", each, proofs)
	}
}

// The order of the parts in a manifest is nobody's promise: a proof that stands first is looked at as well.
func TestProofsInAnyOrder(t *testing.T) {
	l := logs.Open(t, t.TempDir())
	defer l.Close(t)
	l.Grow(t, 300)
	b := logs.Bucket(t, t.TempDir())
	if err := archiver(l, b, nil).Archive(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, _, err := archive.Read(t.Context(), b, 0)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(m.Objects, func(o archive.Object) bool { return strings.HasPrefix(o.Name, "anchors/") })
	m.Objects = append([]archive.Object{m.Objects[i]}, slices.Delete(slices.Clone(m.Objects), i, i+1)...)
	if err := b.Replace(t.Context(), archive.ManifestPath(0), signedManifest(t, m.Manifest)); err != nil {
		t.Fatal(err)
	}
	check(t, b, fsck.Sound, "")
	if err := b.Delete(t.Context(), m.Path(m.Objects[0])); err != nil {
		t.Fatal(err)
	}
	check(t, b, fsck.Damaged, "")
}

// signedManifest is a manifest's file, as the archiver would write it.
func signedManifest(t *testing.T, m archive.Manifest) []byte {
	t.Helper()
	payload, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := logs.Receipts.Sign(dsse.PAE(archive.ManifestType, payload))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `{"payload":%q,"payloadType":%q,"signatures":[{"keyid":%q,"sig":%q}]}`, b64(payload), archive.ManifestType, logs.Receipts.KeyID(), b64(sig))
}
