package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// Two nodes on one data folder would fork its log: the second is refused, and the first does not notice.
func TestSecondNode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	second := *s
	second.cfg.HTTP.Listen, second.cfg.MQTT.Listen = rig.FreeAddr(t), rig.FreeAddr(t)
	second.dir = t.TempDir()
	second.write()
	second.refused(1, nil, s.cfg.Data, "another node has this data folder open", whatToDo, "stop it")
	var ready struct{ Status string }
	if err := s.client(node.DevAgent).Call(bounded(t), "GET", "/readyz", nil, &ready); err != nil || ready.Status != "ready" {
		t.Errorf("the first node is not ready any more: %v %v", err, ready)
	}
	s.stop(p)
}

// mount mounts and unmounts at the end of the test; where that is not allowed the test is skipped.
func mount(t *testing.T, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount(source, target, fstype, flags, data); err != nil {
		t.Skipf("cannot mount %s (needs root): %v", target, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(target, 0); err != nil {
			t.Errorf("unmount %s: %v", target, err)
		}
	})
}

// A data folder that cannot be written is called that, not something else.
func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	for _, born := range []bool{true, false} {
		name := map[bool]string{true: "of a domain", false: "empty"}[born]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if born {
				s.born()
			} else if err := os.Mkdir(s.cfg.Data, 0o700); err != nil {
				t.Fatal(err)
			}
			mount(t, s.cfg.Data, s.cfg.Data, "", syscall.MS_BIND, "")
			if err := syscall.Mount("", s.cfg.Data, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
				t.Skipf("cannot remount read-only: %v", err)
			}
			s.refused(1, nil, s.cfg.Data, "cannot be written", "read-only file system", whatToDo, "writable")
		})
	}
}

// A bit that rots in the last acknowledged record is not mistaken for a torn write.
func TestDamagedLastRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	f := s.fleet()
	rig.Eventually(t, "telemetry is acknowledged", func() bool { return f.Acked.Load() > 200 })
	f.Quiet(t)
	p.Kill()
	logs, err := filepath.Glob(filepath.Join(s.cfg.Data, "journal", "db", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no write-ahead log: %v", err)
	}
	slices.Sort(logs)
	path := logs[len(logs)-1]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(b, "\x00"))
	b[end-8] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(1, nil, filepath.Join(s.cfg.Data, "journal"), "was acknowledged", "damaged or missing", whatToDo, "restore the data folder")
	// It stays refused: the first attempt must not have made the loss look like a clean end.
	s.refused(1, nil, "was acknowledged", "damaged or missing")
}

// A folder that was rolled back is found out by what was published from it.
func TestRolledBackJournal(t *testing.T) {
	t.Parallel()
	s := newSite(t).born()
	journal, backup := filepath.Join(s.cfg.Data, "journal"), filepath.Join(s.dir, "backup")
	if err := os.CopyFS(backup, os.DirFS(journal)); err != nil {
		t.Fatal(err)
	}
	s.born() // one more start is one more receipt, published at the end
	if err := os.RemoveAll(journal); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, journal); err != nil {
		t.Fatal(err)
	}
	s.refused(1, nil, filepath.Join(s.cfg.Data, "log"), "were published, the journal has fewer", "rolled back", whatToDo, "restore the newest journal")
}

// A journal that is gone while its published log is there is not taken for a new domain.
func TestLostJournal(t *testing.T) {
	t.Parallel()
	s := newSite(t).born()
	if err := os.RemoveAll(filepath.Join(s.cfg.Data, "journal")); err != nil {
		t.Fatal(err)
	}
	s.refused(1, nil, filepath.Join(s.cfg.Data, "log"), "were published, the journal has fewer", whatToDo)
}

// Keys that are damaged, exchanged, missing or open to others are refused, each by the name of its file.
func TestKeys(t *testing.T) {
	t.Parallel()
	write := func(text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name, file string
		harm       func(t *testing.T, path string)
		words      []string
	}{
		{"short receipt key", "receipt.key", write("AAAA\n"), []string{"receipt.key", "want 32 bytes in base64"}},
		{"empty capability key", "capability.key", write(""), []string{"capability.key", "want 32 bytes in base64"}},
		{"damaged log key", "log.key", write("PRIVATE+KEY+x\ny\n"), []string{"log.key", "damaged"}},
		{"log key of one line", "log.key", write("PRIVATE+KEY+x\n"), []string{"log.key", "two lines"}},
		{"open to others", "receipt.key", func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"receipt.key", "others than its owner may read it", "chmod 600"}},
		{"log key of another log", "log.key", func(t *testing.T, path string) {
			other := newSite(t).born()
			b, err := os.ReadFile(filepath.Join(other.cfg.Data, "keys", "log.key"))
			if err != nil {
				t.Fatal(err)
			}
			write(string(b))(t, path)
		}, []string{"not signed by this log's key", whatToDo, "key folder"}},
		{"receipt key is gone", "receipt.key", remove, []string{"receipt.key", "is missing", whatToDo}},
		{"capability key is gone", "capability.key", remove, []string{"capability.key", "is missing", whatToDo}},
		{"log key is gone", "log.key", remove, []string{"log.key", "is missing", whatToDo}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t).born()
			path := filepath.Join(s.cfg.Data, "keys", tt.file)
			tt.harm(t, path)
			s.refused(1, nil, tt.words...)
		})
	}
}

func remove(t *testing.T, path string) {
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
