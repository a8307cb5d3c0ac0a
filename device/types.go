package device

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// Outbound is one authorized command on its way to a device.
type Outbound struct {
	Seq     uint64              `json:"seq,string"` // order of dispatch: a device gets its commands in ascending order
	Device  vaultmesh.DeviceID  `json:"device"`
	Twin    vaultmesh.TwinID    `json:"twin"`
	Command vaultmesh.CommandID `json:"command"`
	Name    string              `json:"name"`
	Args    json.RawMessage     `json:"args,omitempty"` // canonical JSON; absent means no arguments
	Expires time.Time           `json:"expires"`        // never sent at or after this instant
}

// Response is what a device answered to a command, already authenticated: Device is the identity of the connection.
type Response struct {
	Command vaultmesh.CommandID `json:"command"`
	Device  vaultmesh.DeviceID  `json:"device"`
	OK      bool                `json:"ok"`
	Code    string              `json:"code"`             // 1..64 bytes, the device's own word: "done", "blocked"
	Detail  string              `json:"detail,omitempty"` // at most 512 bytes
	Body    json.RawMessage     `json:"body,omitempty"`   // valid JSON, at most 8 KiB, depth at most 16
	Time    time.Time           `json:"time"`             // when the device acted, by its own clock, UTC
}

// Journal is what ingest commits to. done is called exactly once, after durability and in commit order, or with the
// error of op; an error of SubmitAsync itself (kind RateLimited: the lane is full) means that op never runs.
type Journal interface {
	SubmitAsync(lane journal.Lane, op journal.Op, done func(error)) error
}

// Log gives a receipt its place, inside an Op.
type Log interface {
	Append(tx journal.Tx, d receipt.Draft) (vaultmesh.LogIndex, vaultmesh.Digest, error)
}

// Twins judges and merges messages. Check runs concurrently, outside the lane; Merge runs inside an Op, makes no
// writes where it returns an error, and reports a message that it has merged before as a duplicate.
type Twins interface {
	Check(m *twin.Message) error
	Merge(tx journal.Tx, m *twin.Message, batch vaultmesh.LogIndex, pos int) (twin.Result, error)
}

// Source owns the commands: the broker only carries them. All methods are safe for concurrent use and return within
// the time that a durable commit takes.
type Source interface {
	// Pending returns the commands of device that were handed out but not yet delivered, in ascending order of Seq.
	Pending(device vaultmesh.DeviceID) ([]Outbound, error)
	// Delivered records that the device acknowledged receipt (its PUBACK). When it returns, Pending
	// gives the command no more. After an error, or if the node ends before it is durable, the command is sent once more
	// and the device removes the duplicate by the command's id.
	Delivered(ctx context.Context, id vaultmesh.CommandID, at time.Time) error
	// Respond records an answer; the device's PUBLISH is acknowledged only after it returned nil, so it is durable by
	// then, and the same answer may arrive again. Kinds NotFound, Invalid, Denied, Conflict, Expired and TooLarge
	// refuse the answer for good (also one for a command of another device); any other error makes the device retry.
	Respond(ctx context.Context, r Response) error
}

// Devices says who may connect. Safe for concurrent use.
type Devices interface {
	// Admit returns nil for an enrolled device that is not revoked; the text of the error reaches the operator and,
	// with MQTT 5, the device.
	Admit(device vaultmesh.DeviceID) error
	// TokenDigest returns the SHA-256 digest of the device's token, which replaces the certificate where
	// Options.Insecure allows plain TCP. The broker compares digests in constant time.
	TokenDigest(device vaultmesh.DeviceID) (vaultmesh.Digest, bool)
}

// State tells that a device came or went. Events of one device come in order.
type State struct {
	Device   vaultmesh.DeviceID `json:"device"`
	Online   bool               `json:"online"`
	Time     time.Time          `json:"time"`
	Remote   string             `json:"remote,omitempty"`   // address of the peer
	Protocol byte               `json:"protocol,omitempty"` // 4 is MQTT 3.1.1, 5 is MQTT 5
	Reason   string             `json:"reason,omitempty"`   // why it went
}

// Options of a [Broker]. Zero limits mean their defaults; Journal, Log, Twins, Source, Devices and one listener are required.
type Options struct {
	// TLSAddr is the address of the TLS listener, for example ":8883"; empty means none. TLS needs a server
	// certificate and ClientCAs; the broker demands and verifies client certificates and TLS 1.2 or later whatever
	// else it says.
	TLSAddr string
	TLS     *tls.Config
	// InsecureAddr is the address of a plain TCP listener for the dev profile. It is refused unless Insecure is set
	// and the address is a loopback literal or "localhost".
	InsecureAddr string
	Insecure     bool

	Journal Journal
	Log     Log
	Twins   Twins
	Source  Source
	Devices Devices

	Domain  vaultmesh.Domain    // whose log the batches go to
	Actor   vaultmesh.Principal // who ingests, "node:<name>": the actor of the batch receipts
	Now     func() time.Time    // default time.Now
	OnState func(State)         // called from connection goroutines; must not block
	Logger  *slog.Logger        // default: discard

	MaxPacket      int           // bytes of one MQTT packet, default 65536, 1024..1048576
	MaxConnections int           // default 4096
	MaxOutstanding int           // unacknowledged publishes of one connection (MQTT 5 receive maximum), default 256, 1..65535
	MaxCommands    int           // commands in flight to one device, default 32, 1..1024
	MaxQueue       int           // messages that wait for the committer, default 16384
	MaxQueueBytes  int           // and their bytes, default 32 MiB
	MaxSession     time.Duration // how long the session of an absent device is kept, default 1 h
	MaxKeepalive   time.Duration // 0 (none) and longer requests become this, default 2 min, 5 s..18 h
	ConnectTimeout time.Duration // from accept to CONNECT, TLS handshake included, default 10 s
	// BatchWithin is how long a telemetry message may wait, unacknowledged, for others to share its batch and receipt;
	// default 10 ms, 1 µs..1 s. A message with properties never waits.
	BatchWithin time.Duration
	MaxStall    time.Duration // how long a reader waits for room and a writer for the peer, default 10 s
}
