package device

import (
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh"
)

// closeGrace is how long Close waits for peers to take their DISCONNECT before it closes their connections.
const closeGrace = 2 * time.Second

// Broker is the MQTT edge of a node. It is safe for concurrent use.
type Broker struct {
	o        Options
	server   *mqtt.Server
	ingest   *ingest
	count    *counters
	logs     limiter  // of refused connections
	conns    sync.Map // *mqtt.Client to *conn
	stopping chan struct{}
	closing  sync.Once
	tls, tcp *listener     // nil where not asked for
	firstSeq atomic.Uint64 // the lowest Seq that was dispatched since the start; the highest number before

	mu    sync.RWMutex
	peers map[vaultmesh.DeviceID]*peer
}

// New checks o, opens the listeners and serves. Close ends it; the journal must be closed later than the broker.
func New(o Options) (*Broker, error) {
	const op = "device.broker"
	if err := o.check(); err != nil {
		return nil, err
	}
	b := &Broker{o: o, count: newCounters(), stopping: make(chan struct{}), peers: map[vaultmesh.DeviceID]*peer{}}
	b.firstSeq.Store(math.MaxUint64)
	b.ingest = newIngest(&b.o, b.count)
	b.server = mqtt.New(&mqtt.Options{
		Capabilities: &mqtt.Capabilities{
			MaximumClients:               int64(o.MaxConnections),
			MaximumClientWritesPending:   1, // mochi's own way out is not used
			MaximumSessionExpiryInterval: uint32(o.MaxSession / time.Second),
			MaximumPacketSize:            uint32(o.MaxPacket),
			ReceiveMaximum:               uint16(o.MaxOutstanding),
			MaximumInflight:              65535, // more than a device may ask for; MaxCommands bounds what it gets
			WildcardSubAvailable:         1,
			MinimumProtocolVersion:       4,
			MaximumQos:                   1,
			Compatibilities:              mqtt.Compatibilities{NoInheritedPropertiesOnAck: true},
		},
		ClientNetReadBufferSize: 4096,
		// mochi logs packets with their payloads and credentials, so what is worth a line is logged here instead.
		Logger:                 slog.New(slog.DiscardHandler),
		SysTopicResendInterval: 1 << 24, // the $SYS topics, which nobody may read, cost a stop of the world each time
	})
	if err := b.server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot attach to the MQTT server").Because(err)
	}
	if err := b.listen(); err != nil {
		for _, l := range b.listeners() {
			l.shut()
		}
		return nil, err
	}
	go b.ingest.run()
	if err := b.server.Serve(); err != nil {
		b.Close()
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot serve").Because(err)
	}
	return b, nil
}

func (b *Broker) listen() error {
	open := func(id, addr string, conf *tls.Config) (*listener, error) {
		inner, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "device.listen", addr, "cannot listen").Because(err).WithFix("choose a free port, or stop the process that holds it")
		}
		// Beyond MaxConnections mochi answers that the server is busy; far beyond, there is no answer.
		l := newListener(inner, id, conf, b.o.MaxConnections+b.o.MaxConnections/8+16, b.o.ConnectTimeout)
		if err := b.server.AddListener(l); err != nil {
			l.shut()
			return nil, vaultmesh.Errorf(vaultmesh.Internal, "device.listen", addr, "cannot attach the listener").Because(err)
		}
		return l, nil
	}
	var err error
	if b.o.TLSAddr != "" {
		if b.tls, err = open("tls", b.o.TLSAddr, b.o.TLS); err != nil {
			return err
		}
	}
	if b.o.InsecureAddr != "" {
		b.tcp, err = open("tcp", b.o.InsecureAddr, nil)
	}
	return err
}

// check fills in the defaults and refuses what is not safe or not possible.
func (o *Options) check() error {
	const op = "device.options"
	invalid := func(field, format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, field, format, args...)
	}
	if o.Journal == nil || o.Log == nil || o.Twins == nil || o.Source == nil || o.Devices == nil {
		return invalid("", "Journal, Log, Twins, Source and Devices are required")
	}
	if err := vaultmesh.CheckID("domain", string(o.Domain)); err != nil {
		return err
	}
	if err := vaultmesh.CheckID("principal", string(o.Actor)); err != nil {
		return err
	}
	if o.TLSAddr == "" && o.InsecureAddr == "" {
		return invalid("TLSAddr", "no listener")
	}
	if o.TLSAddr != "" {
		if o.TLS == nil || o.TLS.ClientCAs == nil || len(o.TLS.Certificates) == 0 && o.TLS.GetCertificate == nil {
			return invalid("TLS", "a server certificate and ClientCAs are required")
		}
		o.TLS = o.TLS.Clone()
		o.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		o.TLS.MinVersion = max(o.TLS.MinVersion, tls.VersionTLS12)
	}
	if o.InsecureAddr != "" {
		if !o.Insecure {
			return invalid("InsecureAddr", "plain TCP is for the dev profile only").WithFix("use TLSAddr, or set the dev profile")
		}
		host, _, err := net.SplitHostPort(o.InsecureAddr)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return invalid("InsecureAddr", "%q is not a loopback address", o.InsecureAddr).WithFix("use 127.0.0.1:1883")
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnState == nil {
		o.OnState = func(State) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, l := range []struct {
		field            string
		value            *int
		def, least, most int
	}{
		{"MaxPacket", &o.MaxPacket, 65536, 1024, 1 << 20},
		{"MaxConnections", &o.MaxConnections, 4096, 1, 1 << 20},
		{"MaxOutstanding", &o.MaxOutstanding, 256, 1, 65535},
		{"MaxCommands", &o.MaxCommands, 32, 1, 1024},
		{"MaxQueue", &o.MaxQueue, 16384, 1, 1 << 20},
		{"MaxQueueBytes", &o.MaxQueueBytes, 32 << 20, 1 << 10, 1 << 30},
	} {
		if *l.value == 0 {
			*l.value = l.def
		}
		if *l.value < l.least || *l.value > l.most {
			return invalid(l.field, "%d is outside %d..%d", *l.value, l.least, l.most)
		}
	}
	for _, l := range []struct {
		field            string
		value            *time.Duration
		def, least, most time.Duration
	}{
		{"MaxSession", &o.MaxSession, time.Hour, time.Second, 30 * 24 * time.Hour},
		{"MaxKeepalive", &o.MaxKeepalive, 2 * time.Minute, 5 * time.Second, 18 * time.Hour},
		{"ConnectTimeout", &o.ConnectTimeout, 10 * time.Second, time.Millisecond, time.Minute},
		{"BatchWithin", &o.BatchWithin, 10 * time.Millisecond, time.Microsecond, time.Second},
		{"MaxStall", &o.MaxStall, 10 * time.Second, time.Millisecond, 5 * time.Minute},
	} {
		if *l.value == 0 {
			*l.value = l.def
		}
		if *l.value < l.least || *l.value > l.most {
			return invalid(l.field, "%s is outside %s..%s", *l.value, l.least, l.most)
		}
	}
	return nil
}

func (b *Broker) listeners() []*listener {
	var all []*listener
	for _, l := range []*listener{b.tls, b.tcp} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}

// TLSAddr returns the address of the TLS listener; empty if there is none.
func (b *Broker) TLSAddr() string { return b.tls.address() }

// InsecureAddr returns the address of the plain TCP listener; empty if there is none.
func (b *Broker) InsecureAddr() string { return b.tcp.address() }

// Disconnect ends the connection of device, because it was revoked for example; reason reaches an MQTT 5 device. It
// does nothing where the device is not connected. [Devices.Admit] must refuse the device first, or it comes back.
func (b *Broker) Disconnect(device vaultmesh.DeviceID, reason string) {
	p := b.knownPeer(device)
	if p == nil {
		return
	}
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	if c != nil {
		c.kick(packets.Code{Code: packets.ErrAdministrativeAction.Code, Reason: clip(reason, maxReasonText)})
	}
}

// Presence returns what is known of device's connection; ok is false if it was never connected since the start.
func (b *Broker) Presence(device vaultmesh.DeviceID) (Presence, bool) {
	if p := b.knownPeer(device); p != nil {
		return p.presence(), true
	}
	return Presence{}, false
}

// Devices returns the presence of every device that was connected since the start, in no order.
func (b *Broker) Devices() []Presence {
	b.mu.RLock()
	peers := make([]*peer, 0, len(b.peers))
	for _, p := range b.peers {
		peers = append(peers, p)
	}
	b.mu.RUnlock()
	out := make([]Presence, len(peers))
	for i, p := range peers {
		out[i] = p.presence()
	}
	return out
}

// Refusals returns the newest refused messages of device, at most 32, newest first.
func (b *Broker) Refusals(device vaultmesh.DeviceID) []Refusal {
	if p := b.knownPeer(device); p != nil {
		return p.newestRefusals()
	}
	return nil
}

// Stats returns a snapshot.
func (b *Broker) Stats() Stats {
	s := b.count.snapshot()
	s.QueueMessages, s.QueueBytes = b.ingest.load()
	for _, l := range b.listeners() {
		c := l.crowd.Stats()
		s.Refused[causeNames[causeConnections]] += c.LetGo + c.Refused
	}
	return s
}

// Close disconnects the devices, waits for what is at the journal, and ends all goroutines. Messages that were not
// acknowledged are sent again by their devices.
func (b *Broker) Close() {
	b.closing.Do(func() {
		close(b.stopping)
		for _, l := range b.listeners() {
			l.shut()
			l.drop(false)
		}
		b.conns.Range(func(_, c any) bool {
			c.(*conn).kick(packets.ErrServerShuttingDown)
			return true
		})
		grace := time.AfterFunc(closeGrace, func() {
			for _, l := range b.listeners() {
				l.drop(true)
			}
		})
		for _, l := range b.listeners() {
			l.serve.Wait()
		}
		grace.Stop()
		_ = b.server.Close()
		close(b.ingest.stop)
		<-b.ingest.stopped
	})
}
