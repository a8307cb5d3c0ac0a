package httpapi

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
)

// Options of a [Server]. The services, Domain and Root are required; everything else has a default.
type Options struct {
	// Addr is where [Server.Listen] listens, "host:port"; default "127.0.0.1:8443".
	Addr string
	// TLS is the server's configuration; its certificates are required. Nil means plain HTTP, which is refused
	// for every address that is not loopback. For mTLS set ClientAuth (and ClientCAs) on it.
	TLS *tls.Config

	Domain vaultmesh.Domain
	Root   ed25519.PublicKey // the domain's capability root
	// Revoked reports whether the block of a token is revoked; nil means that none is.
	Revoked func(block vaultmesh.Digest) bool

	Commands     Commands
	Twins        Twins
	Evidence     Evidence
	Devices      Devices
	Capabilities Capabilities
	// Anchors is nil where the node anchors nowhere.
	Anchors Anchors
	// Feed receives the changes that WebSocket clients see; nil gives a feed without changes.
	Feed *Feed

	// Ready returns nil only when the node can commit; nil means always ready.
	Ready func(ctx context.Context) error
	// Gatherer is what /metrics shows; nil means that there is no such route's content (404).
	Gatherer prometheus.Gatherer
	// Registerer receives this package's own metrics; nil keeps them to itself.
	Registerer prometheus.Registerer

	// MetricsFrom lists the peers that may read /metrics without a token, LogFrom those that may read the public
	// log (/log/…) without one; empty means that a token is needed. See [Loopback] and [Anywhere].
	MetricsFrom, LogFrom []netip.Prefix
	// Origins are the host patterns of browser pages beside this host that may open the feed.
	Origins []string
	// Mount adds handlers of other faces by pattern ("/mcp", "GET /ui/"). They share the metrics, the headers, and
	// the limits of headers and of the time for a body and for each write; they bound the number of their requests
	// themselves, and authenticate by [Server.Authenticate] or in their own way.
	Mount map[string]http.Handler

	// Witnesses returns the state of witnessing; nil: the log has no witnesses.
	Witnesses func() witness.Status

	// Alarms returns what a person must look at, the gravest first; nil: nothing ever.
	Alarms func() []Alarm

	Limits Limits
	Now    func() time.Time // default time.Now
	Random io.Reader        // request identifiers; default crypto/rand
	Log    *slog.Logger     // default slog.Default; tokens and payloads are never logged
}

// Limits bound what comes from outside. Zero fields take their default.
type Limits struct {
	Body       int64 // bytes of a request body; default 1 MiB
	Depth      int   // nesting of a JSON body; default 32
	Header     int   // bytes of a request's header; default 32 KiB
	Concurrent int   // requests at work of those who proved who they are, feeds not counted; beyond it 503; default 256
	Open       int   // requests at work without a token, beside Concurrent; beyond it 503; default 32
	Reserved   int   // places beside Concurrent for halt, resume, approve, reject and revoke alone; default 16
	// Connections open at the same time, feeds counted; beyond it one that is at work for nobody known is closed for a
	// newer one (see package crowd). Default 1024.
	Connections int
	Page        int           // longest list of one answer; default 1000
	Skew        time.Duration // clock difference allowed to a proof; default 30 s
	Replays     int           // proofs remembered until they are too old; beyond it 429; default 100,000

	HeaderTimeout  time.Duration // from the first byte to the end of the header; default 5 s
	ReadTimeout    time.Duration // of a whole request; default 15 s
	WriteTimeout   time.Duration // of a whole answer, feeds excepted; default 60 s
	OpenWrite      time.Duration // of a whole answer to a request without a token; default 10 s
	IdleTimeout    time.Duration // between the requests of a connection; default 2 min
	RequestTimeout time.Duration // for which a service may work on a request; default 30 s
	RetryAfter     time.Duration // told with 429 and 503, in whole seconds; default 1 s

	Feeds        int           // feed connections; default 128
	FeedPending  int           // distinct changed twins and commands that wait for a slow client; default 65,536
	FeedWrite    time.Duration // in which a client must take one message; default 10 s
	FeedPing     time.Duration // between pings, each of which also checks the token again; default 20 s
	FeedReceipts int           // receipts read in one go, between which other changes get their turn; default 256
}

func (o *Options) setDefaults() {
	set(&o.Addr, "127.0.0.1:8443")
	if o.Revoked == nil {
		o.Revoked = func(vaultmesh.Digest) bool { return false }
	}
	if o.Feed == nil {
		o.Feed = NewFeed()
	}
	if o.Ready == nil {
		o.Ready = func(context.Context) error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	l := &o.Limits
	set(&l.Body, 1<<20)
	set(&l.Depth, 32)
	set(&l.Header, 32<<10)
	set(&l.Concurrent, 256)
	set(&l.Open, 32)
	set(&l.Reserved, 16)
	set(&l.Connections, 1024)
	set(&l.Page, 1000)
	set(&l.Skew, 30*time.Second)
	set(&l.Replays, 100_000)
	set(&l.HeaderTimeout, 5*time.Second)
	set(&l.ReadTimeout, 15*time.Second)
	set(&l.WriteTimeout, time.Minute)
	set(&l.OpenWrite, 10*time.Second)
	set(&l.IdleTimeout, 2*time.Minute)
	set(&l.RequestTimeout, 30*time.Second)
	set(&l.RetryAfter, time.Second)
	set(&l.Feeds, 128)
	set(&l.FeedPending, 65_536)
	set(&l.FeedWrite, 10*time.Second)
	set(&l.FeedPing, 20*time.Second)
	set(&l.FeedReceipts, 256)
}

func set[T comparable](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

func (o *Options) check() error {
	const op = "http.options"
	fail := func(field, fix string) error {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, field, "it is missing").WithFix("%s", fix)
	}
	switch {
	case o.Commands == nil:
		return fail("Commands", "give the decision service")
	case o.Twins == nil:
		return fail("Twins", "give the twin store")
	case o.Evidence == nil:
		return fail("Evidence", "give the log")
	case o.Devices == nil:
		return fail("Devices", "give the broker")
	case o.Capabilities == nil:
		return fail("Capabilities", "give the revocation service")
	case len(o.Root) != ed25519.PublicKeySize:
		return fail("Root", "give the ed25519 public key of the domain's capability root")
	}
	if err := vaultmesh.CheckID("domain", string(o.Domain)); err != nil {
		return vaultmesh.Wrap(err, op, "Domain")
	}
	l := o.Limits
	if l.Body < 0 || l.Depth < 0 || l.Header < 0 || l.Concurrent < 0 || l.Open < 0 || l.Reserved < 0 || l.Connections < 0 || l.Page < 0 || l.Replays < 0 || l.Feeds < 0 || l.FeedPending < 0 || l.FeedReceipts < 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "Limits", "a count is negative").WithFix("leave it 0 for the default")
	}
	for _, d := range []time.Duration{l.Skew, l.HeaderTimeout, l.ReadTimeout, l.WriteTimeout, l.OpenWrite, l.IdleTimeout, l.RequestTimeout, l.RetryAfter, l.FeedWrite, l.FeedPing} {
		if d < 0 {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, "Limits", "a duration is negative").WithFix("leave it 0 for the default")
		}
	}
	return nil
}

// Loopback is the set of this machine's own addresses, for [Options].
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Anywhere is the set of all addresses, for [Options].
func Anywhere() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
}
