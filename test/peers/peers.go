// Package peers fetches and starts the foreign programs that tests run beside VaultMesh: nodes of public chains,
// time-stamp authorities, object stores, verifiers written by others. It is on floor 7 and is used by tests only.
//
// Programs in Go are built once into the user's cache folder, npm packages are installed there, and Debian packages are
// only looked for. A test whose peer is absent is skipped and says what to install; with VAULTMESH_REQUIRE_PEERS=1 it
// fails. Every program is started on loopback, bounded in time, and stopped by its process id.
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
	"sync"
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

// Go builds the main package at the root of a Go module and returns the path of the binary.
func Go(t testing.TB, module, version string) string {
	t.Helper()
	return GoCmd(t, module, version, ".")
}

// GoCmd builds a main package of a Go module, pkg being relative to it ("./cmd/timestamp-server"), and returns the path
// of the binary.
func GoCmd(t testing.TB, module, version, pkg string) string {
	t.Helper()
	bin, err := goCmd(module, version, pkg)
	if err != nil {
		absent(t, "%s %s cannot be built: %v", path.Join(module, pkg), version, err)
	}
	return bin
}

func goCmd(module, version, pkg string) (string, error) {
	target := path.Join(module, pkg)
	dir, err := folder("go", target+"@"+version)
	if err != nil {
		return "", err
	}
	name := path.Base(target)
	if strings.HasPrefix(name, "v") && len(name) == 2 { // a module's major version is no name
		name = path.Base(path.Dir(target))
	}
	bin := filepath.Join(dir, name)
	return bin, once(dir, bin, func(ctx context.Context, tmp string) error {
		cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", target+"@"+version)
		cmd.Dir = tmp // outside of this module
		cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, tail(out))
		}
		return os.Rename(filepath.Join(tmp, name), bin)
	})
}

// NPM installs one package of a fixed version ("ganache@7.9.2") and returns the folder that holds its node_modules. Its
// installation scripts are not run.
func NPM(t testing.TB, pkg string) string {
	t.Helper()
	dir, err := npm(pkg)
	if err != nil {
		absent(t, "npm package %s: %v", pkg, err)
	}
	return dir
}

func npm(pkg string) (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is not installed (Debian: apt-get install nodejs npm)", tool)
		}
	}
	dir, err := folder("npm", pkg)
	if err != nil {
		return "", err
	}
	done := filepath.Join(dir, "installed")
	return dir, once(dir, done, func(ctx context.Context, tmp string) error {
		cmd := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", pkg)
		cmd.Dir = tmp
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, tail(out))
		}
		return os.WriteFile(done, nil, 0o600)
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

// Python returns a Python interpreter that can import the module, which the Debian package installs.
func Python(t testing.TB, pkg, module string) string {
	t.Helper()
	const python = "/usr/bin/python3" // Debian's own: others do not see Debian's modules
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := exec.CommandContext(ctx, python, "-c", "import "+module).Run(); err != nil {
		absent(t, "%s cannot import %s (Debian: apt-get install %s)", python, module, pkg)
	}
	return python
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
	dir := filepath.Join(cache, kind, path.Base(strings.ReplaceAll(name, "@", "-"))+"-"+hex.EncodeToString(sum[:4]))
	return dir, os.MkdirAll(dir, 0o700)
}

// refused remembers within one process what could not be fetched, so that it is tried once.
var refused sync.Map

// once runs fetch unless its result exists. Test processes that want the same peer wait for one another.
func once(dir, result string, fetch func(ctx context.Context, tmp string) error) error {
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
	if err, ok := refused.Load(result); ok {
		return err.(error)
	}
	tmp, err := os.MkdirTemp(dir, "fetch-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	if err := fetch(ctx, tmp); err != nil {
		refused.Store(result, err)
		return err
	}
	return nil
}

// tail is the end of a tool's output, on one line.
func tail(out []byte) string {
	text := strings.Join(strings.Fields(string(out)), " ")
	if len(text) > 400 {
		text = "… " + text[len(text)-400:]
	}
	return text
}
