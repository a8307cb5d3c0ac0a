// Package pki makes and keeps the certificates of the dev profile and of tests: one certificate authority, a server
// certificate for loopback names and one client certificate for each device. It is on floor 3, beside the
// broker, and the node uses it for HTTP too.
//
// It must not know what a certificate is used for, and it is no substitute for a real PKI: the CA's key lies in the
// same folder as what it signs. A production node is given its certificates by path.
//
// Files in the folder, all of mode 0600 and replaced atomically: ca.crt, ca.key, server.crt, server.key,
// device-<id>.crt, device-<id>.key (PEM; keys in PKCS #8). Source: RFC 5280.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
)

// Validity of every certificate that this package makes.
const Validity = 365 * 24 * time.Hour

// Options of a [Store]. The zero value of each field but Rand is usable.
type Options struct {
	Now   func() time.Time // default time.Now
	Rand  io.Reader        // serial numbers, 16 bytes each; required, crypto/rand.Reader outside tests
	Hosts []string         // names and addresses of the server certificate beside localhost, 127.0.0.1 and ::1
}

// Store is a folder of certificates below one CA. It is safe for concurrent use by one process.
type Store struct {
	dir    string
	o      Options
	mu     sync.Mutex
	ca     *x509.Certificate
	caKey  crypto.Signer
	server tls.Certificate
}

// Open loads the folder or fills it: a CA (ECDSA P-256) and a server certificate are made where absent. A server
// certificate that has expired or lacks a host is made anew; an expired CA is refused (kind Expired), since its
// devices trust it by name. A certificate that the folder's CA did not sign is refused (kind Corrupt).
func Open(dir string, o Options) (*Store, error) {
	const op = "pki.open"
	if o.Rand == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, dir, "no source of randomness").WithFix("set Options.Rand")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot create the folder").Because(err)
	}
	s := &Store{dir: dir, o: o}
	if err := s.openCA(); err != nil {
		return nil, err
	}
	if err := s.openServer(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) openCA() error {
	const op = "pki.ca"
	cert, err := s.load("ca")
	if errors.Is(err, fs.ErrNotExist) {
		tmpl := &x509.Certificate{
			Subject:               pkix.Name{CommonName: "VaultMesh dev CA"},
			IsCA:                  true,
			BasicConstraintsValid: true,
			MaxPathLenZero:        true,
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		if cert, err = s.make("ca", tmpl); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	leaf := cert.Leaf
	if !leaf.IsCA || leaf.CheckSignatureFrom(leaf) != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, s.path("ca.crt"), "it is not a self-signed certificate authority").WithFix("restore the folder, or remove it and enrol the devices again")
	}
	if now := s.o.Now(); now.After(leaf.NotAfter) {
		return vaultmesh.Errorf(vaultmesh.Expired, op, s.path("ca.crt"), "it expired on %s", leaf.NotAfter.Format(time.DateOnly)).WithFix("remove the folder and enrol the devices again")
	}
	s.ca, s.caKey = leaf, cert.PrivateKey.(crypto.Signer)
	return nil
}

func (s *Store) openServer() error {
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, s.o.Hosts...)
	cert, err := s.load("server")
	if err == nil {
		if err := s.checkIssued("server", cert.Leaf); err != nil {
			return err
		}
		if s.o.Now().Before(cert.Leaf.NotAfter) && covers(cert.Leaf, hosts) {
			s.server = cert
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "VaultMesh node"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	s.server, err = s.make("server", tmpl)
	return err
}

func covers(cert *x509.Certificate, hosts []string) bool {
	for _, h := range hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

// Device returns the certificate of device, CN = device id, for client authentication; it is made where absent or
// expired.
func (s *Store) Device(device vaultmesh.DeviceID) (tls.Certificate, error) {
	if err := vaultmesh.CheckID("device", string(device)); err != nil {
		return tls.Certificate{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "device-" + string(device)
	cert, err := s.load(name)
	if err == nil {
		if err := s.checkIssued(name, cert.Leaf); err != nil {
			return tls.Certificate{}, err
		}
		if cert.Leaf.Subject.CommonName != string(device) {
			return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Corrupt, "pki.device", s.path(name+".crt"), "it names another device")
		}
		if s.o.Now().Before(cert.Leaf.NotAfter) {
			return cert, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, err
	}
	return s.make(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: string(device)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// ServerTLS returns a configuration for a server that demands client certificates of this CA. A face that also takes
// clients without a certificate relaxes ClientAuth in its copy.
func (s *Store) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{s.server},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    s.Pool(),
		Time:         s.o.Now,
	}
}

// ClientTLS returns a configuration for a client that trusts this CA only and shows cert; the zero cert shows none.
func (s *Store) ClientTLS(cert tls.Certificate) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.Pool(), Time: s.o.Now}
	if cert.Certificate != nil {
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

// Pool returns a pool that holds the CA only.
func (s *Store) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.ca)
	return p
}

// CAFile returns the path of the CA's certificate, for foreign clients.
func (s *Store) CAFile() string { return s.path("ca.crt") }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Store) checkIssued(name string, cert *x509.Certificate) error {
	if err := cert.CheckSignatureFrom(s.ca); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "pki.load", s.path(name+".crt"), "the CA of this folder did not sign it").Because(err).WithFix("remove it and its key to have it made anew")
	}
	return nil
}

// make signs tmpl for a new key, by the CA or, where there is none yet, by itself, and stores both.
func (s *Store) make(name string, tmpl *x509.Certificate) (tls.Certificate, error) {
	const op = "pki.make"
	key, err := ecdsa.GenerateKey(elliptic.P256(), s.o.Rand)
	if err != nil {
		return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "no key").Because(err)
	}
	serial := make([]byte, 16)
	if _, err := io.ReadFull(s.o.Rand, serial); err != nil {
		return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "no serial number").Because(err)
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive and of full length
	now := s.o.Now().UTC()
	tmpl.SerialNumber = new(big.Int).SetBytes(serial)
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-time.Minute), now.Add(Validity)
	parent, signer := tmpl, crypto.Signer(key)
	if s.ca != nil {
		parent, signer = s.ca, s.caKey
		if tmpl.NotAfter.After(s.ca.NotAfter) {
			tmpl.NotAfter = s.ca.NotAfter
		}
	}
	der, err := x509.CreateCertificate(s.o.Rand, tmpl, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Internal, op, name, "cannot sign").Because(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Internal, op, name, "cannot encode the key").Because(err)
	}
	// The key first: a certificate without its key would be refused at the next start, a key without certificate is
	// simply replaced.
	if err := writeFile(s.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})); err != nil {
		return tls.Certificate{}, err
	}
	if err := writeFile(s.path(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return tls.Certificate{}, err
	}
	return s.load(name)
}

// load reads a certificate and its key; fs.ErrNotExist is in the chain where there is no certificate.
func (s *Store) load(name string) (tls.Certificate, error) {
	const op = "pki.load"
	crt, err := os.ReadFile(s.path(name + ".crt"))
	if err != nil {
		return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, s.path(name+".crt"), "cannot read").Because(err)
	}
	key, err := os.ReadFile(s.path(name + ".key"))
	if err != nil {
		// Not wrapped: a lost key must not look like a certificate that was never made.
		return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, s.path(name+".key"), "the certificate is there, its key cannot be read: %v", err).WithFix("restore the key, or remove the certificate")
	}
	cert, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return tls.Certificate{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, s.path(name+".crt"), "the certificate and its key do not fit").Because(err).WithFix("restore both, or remove both")
	}
	return cert, nil
}

// writeFile replaces path by data with mode 0600, all or nothing, durably.
func writeFile(path string, data []byte) error {
	const op = "pki.write"
	if err := durable.Replace(path, data, 0o600); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot write").Because(err)
	}
	return nil
}
