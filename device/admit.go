package device

import (
	"crypto/subtle"
	"crypto/tls"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh"
)

// rejection is why a CONNECT is refused: for MQTT 5 with a code of its own and text, for MQTT 3.1.1 by return code.
type rejection struct {
	code   byte
	code3  byte
	reason string
}

// Return codes of a 3.1.1 CONNACK (section 3.2.2.3).
const (
	badIdentifier3  = 2
	badCredentials3 = 4
	notAuthorized3  = 5
)

// admit judges the identity of a CONNECT: the client id is the device, proved by the certificate's common name, or over
// plain TCP by its token. nil admits.
func (b *Broker) admit(cl *mqtt.Client, pk packets.Packet) *rejection {
	id := pk.Connect.ClientIdentifier
	if err := vaultmesh.CheckID("device", id); err != nil {
		return &rejection{packets.ErrClientIdentifierNotValid.Code, badIdentifier3, "the client id must be the device's id: " + clip(err.Error(), maxReasonText)}
	}
	device := vaultmesh.DeviceID(id)
	if conn, ok := cl.Net.Conn.(*tls.Conn); ok {
		certs := conn.ConnectionState().PeerCertificates
		if len(certs) == 0 { // the configuration demands one
			return &rejection{packets.ErrNotAuthorized.Code, notAuthorized3, "no client certificate"}
		}
		if certs[0].Subject.CommonName != id {
			return &rejection{packets.ErrClientIdentifierNotValid.Code, badIdentifier3, "the client id is not the common name of the certificate"}
		}
	} else if !b.tokenFits(device, pk) {
		return &rejection{packets.ErrBadUsernameOrPassword.Code, badCredentials3, "want the device's id as user name and its token as password"}
	}
	if err := b.o.Devices.Admit(device); err != nil {
		return &rejection{packets.ErrNotAuthorized.Code, notAuthorized3, clip(err.Error(), maxReasonText)}
	}
	if pk.Connect.WillFlag {
		return &rejection{packets.ErrNotAuthorized.Code, notAuthorized3, "a will is not supported: the node sees by itself when a device goes"}
	}
	return nil
}

// tokenFits compares in constant time, also for a device that has no token.
func (b *Broker) tokenFits(device vaultmesh.DeviceID, pk packets.Packet) bool {
	want, ok := b.o.Devices.TokenDigest(device)
	got := vaultmesh.Sum(pk.Connect.Password)
	same := subtle.ConstantTimeCompare(want[:], got[:]) == 1
	return ok && same && !want.IsZero() && pk.Connect.UsernameFlag && pk.Connect.PasswordFlag && string(pk.Connect.Username) == string(device)
}
