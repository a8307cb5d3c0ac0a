package bucket_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/test/peers"
)

func TestMain(m *testing.M) { logs.Main(m) }

func kind(t *testing.T, err error, want vaultmesh.Kind, doing string) {
	t.Helper()
	if err == nil || vaultmesh.KindOf(err) != want {
		t.Fatalf("%s: %v, want an error of kind %v", doing, err, want)
	}
}

// The contract of Bucket, of every kind of it.
func TestContract(t *testing.T) {
	t.Run("folder", func(t *testing.T) { contract(t, logs.Bucket(t, filepath.Join(t.TempDir(), "a", "b"))) })
	t.Run("file URL", func(t *testing.T) { contract(t, logs.Bucket(t, "file://"+t.TempDir())) })
	t.Run("memory", func(t *testing.T) { contract(t, logs.Bucket(t, "mem://x")) })
	t.Run("memory with prefix", func(t *testing.T) { contract(t, logs.Bucket(t, "mem://x/a/b")) })
	t.Run("s3", func(t *testing.T) {
		s := peers.Versity(t, t.TempDir())
		contract(t, logs.Bucket(t, s.Bucket(t, "plain", false)))
		contract(t, logs.Bucket(t, strings.Replace(s.Bucket(t, "prefixed", false), "?", "/some/where?", 1)))
		if all, err := filepath.Glob(filepath.Join(s.Root, "prefixed", "some", "where", "*")); err != nil || len(all) == 0 {
			t.Fatalf("the prefix of the address is not used: %v %v", all, err)
		}
		contract(t, logs.Bucket(t, s.Bucket(t, "locked", true)))
	})
}

func contract(t *testing.T, b bucket.Bucket) {
	t.Helper()
	ctx := t.Context()
	no := bucket.Retention{}
	list := func(prefix string) (all []string) {
		t.Helper()
		if err := b.List(ctx, prefix, func(o bucket.Object) (bool, error) {
			all = append(all, fmt.Sprintf("%s:%d", o.Name, o.Size))
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	if all := list(""); len(all) != 0 {
		t.Fatalf("a new bucket holds %v", all)
	}
	_, err := b.Get(ctx, "absent", 10)
	kind(t, err, vaultmesh.NotFound, "get of what is not there")
	if err := b.Delete(ctx, "absent"); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(ctx, "tile/0/000.p/7", []byte("seven"), no); err != nil {
		t.Fatal(err)
	}
	kind(t, b.Create(ctx, "tile/0/000.p/7", []byte("other"), no), vaultmesh.Conflict, "a second create")
	if err := b.Create(ctx, "tile/0/000", []byte("full"), no); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(ctx, "empty", nil, no); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "longer than one", ""} {
		if err := b.Replace(ctx, "checkpoint", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(ctx, "checkpoint", 100); err != nil || string(got) != text {
			t.Fatalf("%q %v", got, err)
		}
	}
	if got, err := b.Get(ctx, "tile/0/000.p/7", 5); err != nil || string(got) != "seven" {
		t.Fatalf("%q %v", got, err)
	}
	_, err = b.Get(ctx, "tile/0/000.p/7", 4)
	kind(t, err, vaultmesh.TooLarge, "get beyond the limit")
	if all := list(""); fmt.Sprint(all) != "[checkpoint:0 empty:0 tile/0/000.p/7:5 tile/0/000:4]" {
		t.Fatalf("%v", all)
	}
	if all := list("tile/0/000.p/"); fmt.Sprint(all) != "[tile/0/000.p/7:5]" {
		t.Fatalf("%v", all)
	}
	if all := list("tile/0/00"); len(all) != 2 {
		t.Fatalf("%v", all)
	}
	if err := b.Delete(ctx, "tile/0/000.p/7"); err != nil {
		t.Fatal(err)
	}
	if all := list("tile/"); fmt.Sprint(all) != "[tile/0/000:4]" {
		t.Fatalf("%v", all)
	}
	for _, name := range []string{"", "/x", "../x", "a/../x", "a//b", "a/", "a\nb", ".tmp/x", strings.Repeat("x", 600)} {
		_, err := b.Get(ctx, name, 10)
		kind(t, err, vaultmesh.Invalid, name)
		kind(t, b.Create(ctx, name, nil, no), vaultmesh.Invalid, name)
		kind(t, b.Replace(ctx, name, nil), vaultmesh.Invalid, name)
		kind(t, b.Delete(ctx, name), vaultmesh.Invalid, name)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 { // one of several creators wins
		wait.Go(func() {
			if err := b.Create(ctx, "race", bytes.Repeat([]byte{byte(i)}, 1000), no); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if vaultmesh.KindOf(err) != vaultmesh.Conflict {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if won != 1 {
		t.Fatalf("%d creators of the same object won", won)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, folder := b.(*bucket.Folder); !folder {
		if err := b.Replace(cancelled, "cancelled", []byte("x")); err == nil {
			t.Fatal("a cancelled write is said to have happened")
		}
	}
}

// What S3's object lock promises: nobody deletes or replaces what is retained.
func TestObjectLock(t *testing.T) {
	s := peers.Versity(t, t.TempDir())
	ctx := t.Context()
	plain, locked := logs.Bucket(t, s.Bucket(t, "plain", false)), logs.Bucket(t, s.Bucket(t, "locked", true))
	for b, want := range map[bucket.Bucket]bool{plain: false, locked: true} {
		if got, err := b.(bucket.Locker).Locks(ctx); err != nil || got != want {
			t.Fatalf("%v has object lock: %v %v", b, got, err)
		}
	}
	keep := bucket.Retention{Until: time.Now().Add(time.Hour)}
	if err := locked.Create(ctx, "kept", []byte("evidence"), keep); err != nil {
		t.Fatal(err)
	}
	kind(t, locked.Create(ctx, "kept", []byte("forged"), keep), vaultmesh.Conflict, "create over it")
	v := locked.(bucket.Versioned)
	versions := func() (all []string) {
		if err := v.Versions(ctx, "kept", 100, func(b []byte) (bool, error) { all = append(all, string(b)); return true, nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	// S3 lets a plain put or delete add a version in front. The evidence stays below.
	if err := locked.Replace(ctx, "kept", []byte("forged")); err != nil {
		t.Logf("replace: %v", err)
	}
	if err := locked.Delete(ctx, "kept"); err != nil {
		t.Logf("delete: %v", err)
	}
	if all := versions(); !slices.Contains(all, "evidence") {
		t.Fatalf("the retained object is gone: %q", all)
	}
	deleteVersions(t, s, "locked", "kept")
	if all := versions(); !slices.Contains(all, "evidence") {
		t.Fatalf("the retained version is gone: %q", all)
	}
	kind(t, logs.Bucket(t, t.TempDir()).Create(ctx, "kept", nil, keep), vaultmesh.Invalid, "a retention in a folder")
	kind(t, logs.Bucket(t, "mem://").Create(ctx, "kept", nil, keep), vaultmesh.Invalid, "a retention in memory")
}

func TestHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/log/checkpoint":
			_, _ = w.Write([]byte("hello"))
		case "/log/cut":
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("hello"))
		case "/log/moved":
			http.Redirect(w, r, "/log/checkpoint", http.StatusFound)
		case "/log/secret":
			w.WriteHeader(http.StatusForbidden)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	b := logs.Bucket(t, srv.URL+"/log/")
	if got, err := b.Get(t.Context(), "checkpoint", 5); err != nil || string(got) != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	for name, want := range map[string]vaultmesh.Kind{"absent": vaultmesh.NotFound, "cut": vaultmesh.Unavailable, "moved": vaultmesh.Unavailable, "secret": vaultmesh.Denied} {
		_, err := b.Get(t.Context(), name, 100)
		kind(t, err, want, name)
	}
	_, err := b.Get(t.Context(), "checkpoint", 4)
	kind(t, err, vaultmesh.TooLarge, "get beyond the limit")
	kind(t, b.Replace(t.Context(), "x", nil), vaultmesh.Invalid, "a write")
	kind(t, b.List(t.Context(), "", nil), vaultmesh.Invalid, "a listing")
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{"", "ftp://x", "file://host/x", "s3://b?nonsense=1", "http://", "://", "https://h/?q=1"} {
		if b, err := bucket.Open(t.Context(), address); err == nil || vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%q is opened as %v: %v", address, b, err)
		}
	}
	b := logs.Bucket(t, "s3://name/prefix?region=eu-central-1&endpoint=http://user:secret@127.0.0.1:1")
	if s := b.String(); s != "s3://name/prefix" {
		t.Errorf("a bucket is named %q", s)
	}
	_, err := b.Get(t.Context(), "x", 10)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

// A pipe in the place of an object does not hang the reader; a temporary file of a killed process goes.
func TestFolderOddities(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := logs.Bucket(t, dir)
	_, err := b.Get(t.Context(), "checkpoint", 10)
	kind(t, err, vaultmesh.NotFound, "get of a pipe")
	left := filepath.Join(dir, ".tmp", "new-1")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), "a/b", []byte("x"), bucket.Retention{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Fatalf("what a killed process left is still there: %v", err)
	}
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	kind(t, b.Create(t.Context(), "c", nil, bucket.Retention{}), vaultmesh.Denied, "a write without the right")
}

// A full disk is an error that passes, and what was there stays. It runs in a process of its own, which sees a small disk.
func TestFullDisk(t *testing.T) {
	dir := os.Getenv("VAULTMESH_SMALL_DISK")
	if dir == "" {
		dir = t.TempDir()
		line := append(peers.SmallDisk(t, dir, 1<<20), os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
		cmd.Env = append(os.Environ(), "VAULTMESH_SMALL_DISK="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestFullDisk")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	b := logs.Bucket(t, filepath.Join(dir, "log"))
	no := bucket.Retention{}
	if err := b.Create(t.Context(), "small", []byte("x"), no); err != nil {
		t.Fatal(err)
	}
	err := b.Create(t.Context(), "large", make([]byte, 2<<20), no)
	kind(t, err, vaultmesh.Unavailable, "a write beyond the space")
	if !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
	kind(t, b.Replace(t.Context(), "small", make([]byte, 2<<20)), vaultmesh.Unavailable, "a replacement beyond the space")
	if got, err := b.Get(t.Context(), "small", 10); err != nil || string(got) != "x" {
		t.Fatalf("%q %v", got, err)
	}
	_, err = b.Get(t.Context(), "large", 10)
	kind(t, err, vaultmesh.NotFound, "what did not fit")
	if err := b.Create(t.Context(), "large", make([]byte, 1000), no); err != nil {
		t.Fatalf("there is space again: %v", err)
	}
}

// Whoever is told that an object exists relies on it: its name is durable by then, though the process that gave it may have
// been killed before it synced the folder.
func TestConflictIsDurable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tile"), []byte("of a process that was killed"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := bucket.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	var synced atomic.Int32
	defer durable.Watch(func(d string) {
		if d == dir {
			synced.Add(1)
		}
	})()
	if err := f.Create(t.Context(), "tile", nil, bucket.Retention{}); vaultmesh.KindOf(err) != vaultmesh.Conflict || synced.Load() == 0 {
		t.Errorf("%v, synced %d times", err, synced.Load())
	}
}
