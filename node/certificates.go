package node

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/pki"
)

// certificates are the server sides of TLS. ca is the PEM by which the dev profile's own clients know the node.
type certificates struct {
	http, mqtt *tls.Config
	ca         []byte
}

// certificates loads the configured files, or in the dev profile the folder that the node fills itself.
func (n *Node) certificates() (*certificates, error) {
	if n.cfg.Profile == "dev" {
		store, err := OpenPKI(n.cfg.Data)
		if err != nil {
			return nil, err
		}
		ca, err := os.ReadFile(store.CAFile())
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "node.tls", store.CAFile(), "cannot read").Because(err)
		}
		web := store.ServerTLS().Clone()
		web.ClientAuth = tls.NoClientCert
		return &certificates{http: web, mqtt: store.ServerTLS(), ca: ca}, nil
	}
	web, err := serverTLS(n.cfg.HTTP.Certificate, n.cfg.HTTP.Key, n.cfg.HTTP.ClientCA, tls.VerifyClientCertIfGiven)
	if err != nil {
		return nil, err
	}
	mqtt, err := serverTLS(n.cfg.MQTT.Certificate, n.cfg.MQTT.Key, n.cfg.MQTT.ClientCA, tls.RequireAndVerifyClientCert)
	if err != nil {
		return nil, err
	}
	return &certificates{http: web, mqtt: mqtt}, nil
}

func serverTLS(cert, key, clientCA string, auth tls.ClientAuthType) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "node.tls", cert, "cannot load the certificate and its key").Because(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "node.tls", clientCA, "cannot read").Because(err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "node.tls", clientCA, "it holds no PEM certificate")
	}
	c.ClientAuth = auth
	return c, nil
}

// OpenPKI opens the dev profile's certificates below a data folder.
func OpenPKI(data string) (*pki.Store, error) {
	return pki.Open(filepath.Join(data, "pki"), pki.Options{Rand: rand.Reader})
}
