package pki_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/pki"
)

func open(t *testing.T, dir string, now time.Time, hosts ...string) (*pki.Store, error) {
	t.Helper()
	return pki.Open(dir, pki.Options{Rand: rand.Reader, Now: func() time.Time { return now }, Hosts: hosts})
}

func mustOpen(t *testing.T, dir string, now time.Time, hosts ...string) *pki.Store {
	t.Helper()
	s, err := open(t, dir, now, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake returns the common name that the server saw, and the two errors.
func handshake(server, client *tls.Config) (name string, serr, cerr error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err, err
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err := l.Accept()
		if err != nil {
			serr = err
			return
		}
		defer a.Close()
		s := tls.Server(a, server)
		if serr = s.Handshake(); serr == nil {
			if certs := s.ConnectionState().PeerCertificates; len(certs) > 0 {
				name = certs[0].Subject.CommonName
			}
			s.Write([]byte{1})
		}
	}()
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return "", err, err
	}
	c := tls.Client(b, client)
	if cerr = c.Handshake(); cerr == nil {
		_, cerr = io.ReadFull(c, make([]byte, 1)) // TLS 1.3 tells a client of its refusal only here
	}
	b.Close()
	<-done
	return name, serr, cerr
}

func TestHandshake(t *testing.T) {
	now := time.Now()
	s, foreign := mustOpen(t, t.TempDir(), now, "node.example"), mustOpen(t, t.TempDir(), now)
	cert, err := s.Device("sub-8")
	if err != nil {
		t.Fatal(err)
	}
	other, err := foreign.Device("sub-8")
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "node.example"} {
		c := s.ClientTLS(cert)
		c.ServerName = host
		if name, serr, cerr := handshake(s.ServerTLS(), c); name != "sub-8" || serr != nil || cerr != nil {
			t.Errorf("%s: %q %v %v", host, name, serr, cerr)
		}
	}
	named := func(c *tls.Config) *tls.Config { c.ServerName = "localhost"; return c }
	mixed := s.ClientTLS(other)
	for name, c := range map[string]*tls.Config{"no certificate": s.ClientTLS(tls.Certificate{}), "foreign client": mixed} {
		if _, serr, cerr := handshake(s.ServerTLS(), named(c)); serr == nil || cerr == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, cerr := handshake(s.ServerTLS(), named(foreign.ClientTLS(other))); cerr == nil {
		t.Error("a client trusted a foreign server")
	}
	// A device's certificate must not pass for a server's.
	fake := s.ServerTLS()
	fake.Certificates = []tls.Certificate{cert}
	if _, _, cerr := handshake(fake, named(s.ClientTLS(cert))); cerr == nil {
		t.Error("a client took a device for the server")
	}
}

func TestLoadedAgain(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first := mustOpen(t, dir, now)
	a, err := first.Device("sub-8")
	if err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, dir, now)
	b, err := second.Device("sub-8")
	if err != nil {
		t.Fatal(err)
	}
	if !a.Leaf.Equal(b.Leaf) || !first.Pool().Equal(second.Pool()) || !leaf(first).Equal(leaf(second)) {
		t.Error("certificates changed at the second start")
	}
	if third := mustOpen(t, dir, now, "node.example"); leaf(third).Equal(leaf(second)) || leaf(third).VerifyHostname("node.example") != nil {
		t.Error("the server certificate lacks the new host")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 6 {
		t.Errorf("files %v %v", files, err)
	}
	for _, f := range files {
		if fi, err := os.Stat(f); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, fi.Mode(), err)
		}
	}
}

func leaf(s *pki.Store) *x509.Certificate { return s.ServerTLS().Certificates[0].Leaf }

func TestRefused(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, dir, foreign string)
		kind  vaultmesh.Kind
		later time.Duration
	}{
		"foreign CA":     {func(t *testing.T, dir, foreign string) { move(t, foreign, dir, "ca.crt", "ca.key") }, vaultmesh.Corrupt, 0},
		"foreign server": {func(t *testing.T, dir, foreign string) { move(t, foreign, dir, "server.crt", "server.key") }, vaultmesh.Corrupt, 0},
		"key of another": {func(t *testing.T, dir, foreign string) { move(t, foreign, dir, "ca.key") }, vaultmesh.Corrupt, 0},
		"key lost":       {func(t *testing.T, dir, _ string) { os.Remove(filepath.Join(dir, "ca.key")) }, vaultmesh.Corrupt, 0},
		"CA is a server": {func(t *testing.T, dir, _ string) {
			os.Rename(filepath.Join(dir, "server.crt"), filepath.Join(dir, "ca.crt"))
			os.Rename(filepath.Join(dir, "server.key"), filepath.Join(dir, "ca.key"))
		}, vaultmesh.Corrupt, 0},
		"not a certificate": {func(t *testing.T, dir, _ string) { os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o600) }, vaultmesh.Corrupt, 0},
		"CA expired":        {func(*testing.T, string, string) {}, vaultmesh.Expired, 366 * 24 * time.Hour},
	} {
		dir, foreign := t.TempDir(), t.TempDir()
		mustOpen(t, dir, now)
		mustOpen(t, foreign, now)
		tc.spoil(t, dir, foreign)
		if _, err := open(t, dir, now.Add(tc.later)); vaultmesh.KindOf(err) != tc.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir, foreign := t.TempDir(), t.TempDir()
	s, other := mustOpen(t, dir, now), mustOpen(t, foreign, now)
	if _, err := other.Device("sub-8"); err != nil {
		t.Fatal(err)
	}
	move(t, foreign, dir, "device-sub-8.crt", "device-sub-8.key")
	if _, err := s.Device("sub-8"); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("foreign device certificate: %v", err)
	}
	if _, err := s.Device("../x"); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("a path as device: %v", err)
	}
	if _, err := pki.Open(t.TempDir(), pki.Options{}); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no randomness: %v", err)
	}
}

func move(t *testing.T, from, to string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.Rename(filepath.Join(from, n), filepath.Join(to, n)); err != nil {
			t.Fatal(err)
		}
	}
}
