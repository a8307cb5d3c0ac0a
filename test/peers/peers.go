// Package peers fetches and starts the foreign programs that tests run beside VaultMesh: nodes of public chains,
// time-stamp authorities, object stores, verifiers written by others. It is on floor 7 and is used by tests only.
//
// "make peers" builds programs in Go into the user's cache folder and installs npm packages there, once; Debian packages
// are only looked for. Tests fetch nothing: one whose peer is absent is skipped and says what to do; with
// VAULTMESH_REQUIRE_PEERS=1 it fails. Every program is started on loopback, bounded in time, and stopped by its process id.
package peers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fetchTimeout bounds one build or installation.
const fetchTimeout = 9 * time.Minute

// absent ends the test: skipped, or failed where peers are required.
func absent(t testing.TB, format string, args ...any) {
	t.Helper()
	text := "absent peer: " + fmt.Sprintf(format, args...)
	if os.Getenv("VAULTMESH_REQUIRE_PEERS") == "1" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// goBinary returns the path of a program that [Peer.Fetch] built.
func goBinary(t testing.TB, module, version, pkg string) string {
	t.Helper()
	bin, err := goBinaryPath(module, version, pkg)
	if err = inCache(bin, err); err != nil {
		absent(t, "%s %s: %v", path.Join(module, pkg), version, err)
	}
	return bin
}

func goBinaryPath(module, version, pkg string) (string, error) {
	target := path.Join(module, pkg)
	dir, err := folder("go", target+"@"+version)
	name := path.Base(target)
	if strings.HasPrefix(name, "v") && len(name) == 2 { // a module's major version is no name
		name = path.Base(path.Dir(target))
	}
	return filepath.Join(dir, name), err
}

// buildGo builds a main package of a Go module, pkg being relative to it.
func buildGo(module, version, pkg string) error {
	bin, err := goBinaryPath(module, version, pkg)
	if err != nil {
		return err
	}
	return once(bin, func(ctx context.Context, tmp string) error {
		cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", path.Join(module, pkg)+"@"+version)
		cmd.Dir = tmp // outside of this module
		cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, tail(out))
		}
		return os.Rename(filepath.Join(tmp, filepath.Base(bin)), bin)
	})
}

// npmPackage returns the folder in which [Peer.Fetch] installed an npm package of a fixed version.
func npmPackage(t testing.TB, pkg string) string {
	t.Helper()
	mark, err := npmMark(pkg)
	if err = inCache(mark, err); err != nil {
		absent(t, "npm package %s: %v", pkg, err)
	}
	return filepath.Dir(mark)
}

// npmMark is a file that tells that the package is installed beside it.
func npmMark(pkg string) (string, error) {
	dir, err := folder("npm", pkg)
	return filepath.Join(dir, "installed"), err
}

// installNPM installs a package without running its scripts.
func installNPM(pkg string) error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed (Debian: apt-get install nodejs npm)", tool)
		}
	}
	mark, err := npmMark(pkg)
	if err != nil {
		return err
	}
	return once(mark, func(ctx context.Context, tmp string) error {
		cmd := exec.CommandContext(ctx, "npm", "install", "--prefix", filepath.Dir(mark), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", pkg)
		cmd.Dir = tmp
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, tail(out))
		}
		return os.WriteFile(mark, nil, 0o600)
	})
}

// Debian returns file, which the Debian package installs.
func Debian(t testing.TB, pkg, file string) string {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		absent(t, "%s is not there (Debian: apt-get install %s)", file, pkg)
	}
	return file
}

// python is Debian's own interpreter: others do not see the modules of Debian's packages.
const python = "/usr/bin/python3"

// Python returns an interpreter that can import the modules ("bitcoin, opentimestamps"), which the Debian packages bring.
func Python(t testing.TB, packages, modules string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := exec.CommandContext(ctx, python, "-c", "import "+modules).Run(); err != nil {
		absent(t, "%s cannot import %s (Debian: apt-get install %s)", python, modules, packages)
	}
	return python
}

// Tool returns the path of a program on PATH, which the Debian package brings.
func Tool(t testing.TB, pkg, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		absent(t, "%s is not on PATH (Debian: apt-get install %s)", name, pkg)
	}
	return path
}

// folder is where one version of a peer is kept between runs.
func folder(kind, name string) (string, error) {
	cache := os.Getenv("VAULTMESH_PEERS")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(user, "vaultmesh-peers")
	}
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(cache, kind, path.Base(strings.ReplaceAll(name, "@", "-"))+"-"+hex.EncodeToString(sum[:4])), nil
}

// once runs fetch, which makes result, unless result exists. Processes that want the same peer wait for one another.
func once(result string, fetch func(ctx context.Context, tmp string) error) error {
	dir := filepath.Dir(result)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(result); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(dir, "fetch-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	return fetch(ctx, tmp)
}

// tail is the end of a tool's output, on one line.
func tail(out []byte) string {
	text := strings.Join(strings.Fields(string(out)), " ")
	if len(text) > 400 {
		text = "… " + text[len(text)-400:]
	}
	return text
}
