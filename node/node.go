// Package node wires a domain's parts into a running node: keys, journal, log, twins, gate, control, the faces and the
// background work between them. It is on floor 7, the only one besides the commands that names a profile.
//
// It must not decide anything itself: each decision belongs to a room below.
package node

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	mcpapi "vaultmesh.org/vaultmesh/api/mcp"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/journal/durable"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/private"
	"vaultmesh.org/vaultmesh/lawchain/statetree"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// Version of the program.
const Version = vaultmesh.Version

// Node is a running node. It is safe for concurrent use.
type Node struct {
	cfg   Config
	actor vaultmesh.Principal
	now   func() time.Time
	l     *slog.Logger

	unlock    io.Closer
	keys      *keys
	log       *lawchain.Log
	journal   *journal.Journal
	models    *dtdl.Set
	twins     *twin.Store
	gate      *gate.Gate
	control   *control.Service
	broker    *device.Broker
	storage   storage
	anchors   *anchors
	state     *statetree.Tree // nil: no roots of the state
	http      *httpapi.Server
	listener  net.Listener
	feed      *httpapi.Feed
	mcp       *mcpapi.Server
	pinned    *receipt.Trust // what trust.json holds
	root      *root
	lost      bool               // keys are missing, and the root is to replace them: only RotateKey goes on so
	failpoint func(point string) // fixed when the journal is opened
	witness   witnessing
	builds    builds // of bundles

	stop  context.CancelFunc
	loops sync.WaitGroup
	fail  chan error // capacity 1: a loop failed in a way that the node cannot survive
}

// Start starts a node and returns when it serves. On an error everything that was started is stopped again.
func Start(ctx context.Context, cfg Config, l *slog.Logger) (_ *Node, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Log.Tiles == "" {
		cfg.Log.Tiles = filepath.Join(cfg.Data, "log")
	}
	n := &Node{cfg: cfg, actor: vaultmesh.Principal("node:" + cfg.Name), now: time.Now, l: l, fail: make(chan error, 1), builds: newBuilds()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := n.openKeys(ctx); err != nil {
		return nil, err
	}
	if err := n.openTruth(ctx); err != nil {
		return nil, err
	}
	operators, err := n.operators()
	if err != nil {
		return nil, err
	}
	if err := n.genesis(ctx, operators); err != nil {
		return nil, err
	}
	if err := n.defineGrid(ctx); err != nil {
		return nil, err
	}
	if err := n.openState(); err != nil {
		return nil, err
	}
	if n.pinned, err = n.trust(operators); err != nil {
		return nil, err
	}
	if err := n.openControl(operators); err != nil {
		return nil, err
	}
	tls, err := n.certificates()
	if err != nil {
		return nil, err
	}
	if err := n.openDevices(tls); err != nil {
		return nil, err
	}
	if n.anchors, err = newAnchors(n); err != nil {
		return nil, err
	}
	if err := n.openWitness(); err != nil {
		return nil, err
	}
	if err := n.openArchive(ctx); err != nil {
		return nil, err
	}
	if err := n.openHTTP(tls); err != nil {
		return nil, err
	}
	if cfg.Profile == "dev" {
		if err := n.credentials(tls.ca); err != nil {
			return nil, err
		}
	}
	n.publish(ctx)
	if err := n.announce(); err != nil {
		return nil, err
	}
	n.run()
	return n, nil
}

// openKeys takes the data folder for this process and opens its keys.
func (n *Node) openKeys(ctx context.Context) (err error) {
	data := n.cfg.Data
	if err := durable.Folder(data, 0o700); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "node.start", data, "cannot create the data folder").Because(err).WithFix("check the path and its permissions")
	}
	if n.unlock, err = vfs.Default.Lock(filepath.Join(data, "lock")); err != nil {
		n.unlock = nil
		// The file could not even be opened; only what follows is about the lock.
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "node.start", data, "the data folder cannot be written").Because(err).WithFix("make it writable for this user")
		}
		return vaultmesh.Errorf(vaultmesh.Conflict, "node.start", data, "another node has this data folder open").WithFix("stop it, or give this node another folder")
	}
	if n.lost {
		n.keys, err = heldKeys(n.keysDir(), n.cfg.Domain)
	} else if err = keysComplete(data); err == nil {
		n.keys, err = openKeys(n.keysDir(), n.cfg.Domain)
	}
	if err != nil {
		return err
	}
	return n.openRoot(ctx)
}

// openTruth opens the three truths: journal, log and state.
func (n *Node) openTruth(ctx context.Context) error {
	if err := n.openLog(); err != nil {
		return err
	}
	if err := n.openStorage(ctx); err != nil {
		return err
	}
	var err error
	if n.models, err = shippedModels(); err != nil {
		return err
	}
	n.twins = twin.NewStore(twin.Options{Models: n.models, Now: n.now, MaxDrift: n.cfg.Telemetry.MaxDrift})
	return n.twins.Load(n.journal)
}

// openLog opens the journal and the log, with the keys with which the log goes on.
func (n *Node) openLog() error {
	if n.failpoint = failpoint(n.cfg.Profile, os.Getenv("VAULTMESH_FAILPOINT")); n.failpoint == nil {
		n.failpoint = func(string) {}
	}
	n.log = lawchain.New(lawchain.Options{Domain: n.cfg.Domain, Unsigned: func(kind string) bool { return kind == receipt.TelemetryBatch || kind == receipt.KeyRenewed }})
	n.feed = httpapi.NewFeed()
	var err error
	n.journal, err = journal.Open(filepath.Join(n.cfg.Data, "journal"), journal.Options{
		Seal: n.log.Seal,
		OnDurable: func(commit uint64) {
			n.log.Durable(commit)
			n.feed.Receipts()
		},
		Failpoint: n.failpoint, Log: n.l,
	})
	if err != nil {
		return err
	}
	if err := n.followKeys(); err != nil {
		return err
	}
	return n.log.Load(n.journal)
}

// followKeys takes up the keys that the log names; those of the files where the log is empty.
func (n *Node) followKeys() error {
	h, err := lawchain.ReadKeys(n.journal, n.cfg.Domain, n.root.roots())
	if err != nil {
		return err
	}
	if h == nil {
		if h, err = n.keys.history(n.cfg.Domain, n.root.roots()); err != nil {
			return err
		}
	}
	if n.lost {
		var s receipt.Signer
		if live := h.Live(receipt.PurposeReceipt); len(live) > 0 {
			if held, ok := n.keys.find(receipt.PurposeReceipt, live[len(live)-1].Public); ok {
				s = signer(held.private)
			}
		}
		return n.log.UseHistory(h, s)
	}
	if err := n.keys.follow(h); err != nil {
		return err
	}
	return n.log.UseKeys(h, n.keys.signers, signer(n.keys.receipts))
}

// maxDenied is how many commands of one principal may be denied in a minute: ten a second keep nobody from working, and
// keep an agent that runs wild from filling the disk with denials.
const maxDenied = 600

// openControl opens the gate and the life of commands.
func (n *Node) openControl(operators []gate.Operator) error {
	profile := energy.NewProfile(energy.Options{MaxAge: n.cfg.Grid.MaxAge, IsA: n.models.IsA})
	registry := gate.NewOperators()
	for _, o := range operators {
		if err := registry.Enroll(o); err != nil {
			return err
		}
	}
	o := gate.Options{Domain: n.cfg.Domain, Limits: &profile.Limits, Ancestors: ancestors(n.models), Simulator: profile.Simulator, Operators: registry,
		Revoked: n.revoked, Log: n.l}
	if n.cfg.Gate.Policy != "" {
		files, err := gate.ReadPolicy(os.DirFS(n.cfg.Gate.Policy))
		if err != nil {
			return vaultmesh.Wrap(err, "gate.policy", n.cfg.Gate.Policy)
		}
		o.Policy = files
	}
	var err error
	if n.gate, err = gate.New(o); err != nil {
		return err
	}
	texts, err := private.Open(filepath.Join(n.cfg.Data, "private"), rand.Reader)
	if err != nil {
		return err
	}
	n.control, err = control.NewService(control.Options{
		Texts:   texts,
		Machine: &control.Machine{Domain: n.cfg.Domain, Node: n.actor, Log: n.log, Desired: n.twins, MaxOpen: n.cfg.Commands.MaxOpen, MaxDenied: maxDenied},
		Journal: n.journal, Twins: n.twins, Gate: n.gate, CapabilityRoot: public(n.keys.capability), Simulator: profile.Simulator,
		CheckArgs: checkArgs(n.models),
		Tolerance: func(model, name string, _ float64) float64 { t, _ := profile.Tolerance(model, name); return t },
		TTL:       n.cfg.Commands.TTL, AnswerWithin: n.cfg.Commands.AnswerWithin, AlignWithin: n.cfg.Commands.AlignWithin,
		Now: n.now, Rand: rand.Reader, Log: n.l,
	})
	return err
}

func (n *Node) revoked(block vaultmesh.Digest) bool { return control.Revoked(n.journal, block) }

// openDevices opens the MQTT broker.
func (n *Node) openDevices(t *certificates) error {
	var err error
	n.broker, err = device.New(device.Options{
		Domain: n.cfg.Domain, TLSAddr: n.cfg.MQTT.Listen, TLS: t.mqtt, Journal: n.journal, Log: n.log, Twins: n.twins, Source: Source{n.control},
		Devices: newFleet(n.twins, n.cfg.MQTT.Revoked), Actor: n.actor, Now: n.now, Logger: n.l, MaxConnections: n.cfg.MQTT.MaxDevices,
	})
	if err != nil {
		return err
	}
	n.control.SetDispatcher(Dispatcher{n.broker})
	return nil
}

// run starts the background work.
func (n *Node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.control.Start(ctx)
	n.loop(func() { n.storage.tiles.Run(ctx) })
	if n.storage.archiver != nil {
		n.loop(func() { n.storage.archiver.Run(ctx) })
	}
	n.loop(func() { n.anchors.run(ctx) })
	n.loop(func() { n.root.watch(ctx) })
	n.loop(func() { n.witness.run(ctx) })
	n.loop(func() { n.follow(ctx) })
	n.loop(func() { n.prune(ctx) })
	n.loop(func() { n.indexOlder(ctx) })
	if n.state != nil {
		n.loop(func() { n.state.Run(ctx) })
	}
	n.loop(func() {
		if err := n.http.Serve(n.listener); err != nil {
			select {
			case n.fail <- err:
			default:
			}
		}
	})
}

func (n *Node) loop(f func()) {
	n.loops.Add(1)
	go func() { defer n.loops.Done(); f() }()
}

// follow tells the feed what changed.
func (n *Node) follow(ctx context.Context) {
	w := n.twins.Watch(1 << 16)
	defer w.Close()
	sub := n.control.Subscribe(1 << 12)
	defer sub.Close()
	n.loop(func() {
		for {
			c, err := w.Next(ctx)
			if err != nil {
				return
			}
			n.feed.Twin(c.Twin.ID)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-sub.C:
			if e.Command != nil {
				n.feed.Command(e.Command.ID)
			}
			if e.Halt != nil {
				n.feed.Halt()
			}
		}
	}
}

// prune keeps the history inside its hot window.
func (n *Node) prune(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		before := n.now().Add(-n.cfg.Telemetry.History)
		for more := true; more && ctx.Err() == nil; {
			err := n.journal.Submit(ctx, journal.Telemetry, func(tx journal.Tx) (err error) {
				more, err = n.twins.Prune(tx, before)
				return err
			})
			if err != nil {
				n.l.Warn("cannot prune the history", "error", err)
				break
			}
		}
	}
}

// Failed gives the error of a part that the node cannot run without.
func (n *Node) Failed() <-chan error { return n.fail }

// Close stops the node in order: no new work, then what is under way, then the journal.
func (n *Node) Close() error {
	var errs []error
	if n.http != nil && n.stop != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		errs = append(errs, n.http.Shutdown(ctx))
		cancel()
	} else if n.listener != nil {
		errs = append(errs, n.listener.Close())
	}
	if n.mcp != nil {
		n.mcp.Close()
	}
	if n.broker != nil {
		n.broker.Close()
	}
	if n.control != nil {
		n.control.Close()
	}
	if n.stop != nil {
		n.stop()
	}
	n.loops.Wait()
	errs = append(errs, n.root.close(), n.witness.close())
	n.storage.close()
	if n.gate != nil {
		n.gate.Close()
	}
	if n.twins != nil {
		n.twins.Close()
	}
	if n.journal != nil {
		errs = append(errs, n.journal.Close())
	}
	if n.unlock != nil {
		_ = os.Remove(filepath.Join(n.cfg.Data, "node.json"))
		errs = append(errs, n.unlock.Close())
	}
	return errors.Join(errs...)
}

// Ready returns nil only when the node can commit now: it commits a record of its own. Answers are shared for a moment,
// so that probes cannot load the disk.
func (n *Node) Ready(ctx context.Context) error {
	return n.journal.Submit(ctx, journal.Commands, n.journal.Probe(n.now()))
}

// URL is where the HTTP face answers.
func (n *Node) URL() string {
	return "https://" + n.listener.Addr().String()
}

// MQTTAddr is where devices connect.
func (n *Node) MQTTAddr() string { return n.broker.TLSAddr() }

// Runtime is what a running node writes to <data>/node.json, so that tools of the same user find it.
type Runtime struct {
	PID  int    `json:"pid"`
	HTTP string `json:"http"`
	MQTT string `json:"mqtt"`
}

func (n *Node) announce() error {
	b, err := json.Marshal(Runtime{PID: os.Getpid(), HTTP: n.URL(), MQTT: n.MQTTAddr()})
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "node.start", "", "cannot encode").Because(err)
	}
	return writeFile(filepath.Join(n.cfg.Data, "node.json"), append(b, '\n'), 0o600)
}

// registry collects the metrics of all parts.
func (n *Node) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(n.journal.Collectors()...)
	r.MustRegister(n.storage.tiles.Collectors()...)
	if n.storage.archiver != nil {
		r.MustRegister(n.storage.archiver.Collectors()...)
	}
	r.MustRegister(n.control.Collectors()...)
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vaultmesh_log_size", Help: "Durable receipts in the log."}, func() float64 {
		if cp := n.log.Checkpoint(); cp != nil {
			return float64(cp.Size)
		}
		return 0
	}), prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vaultmesh_twins", Help: "Twins of the domain."}, func() float64 { return float64(n.twins.Len()) }))
	r.MustRegister(newBrokerCollector(n.broker), n.root)
	r.MustRegister(n.anchors.collectors()...)
	r.MustRegister(n.witness.collectors()...)
	r.MustRegister(n.stateCollectors()...)
	return r
}

// Tune sets the collector for a server with a small live heap: far fewer cycles, within a bound that a small machine
// affords.
func Tune() {
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(4 << 30)
}

// parsePublic reads a base64 ed25519 public key.
func parsePublic(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != 32 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "key", "", "want 32 bytes in base64")
	}
	return b, nil
}
