package device_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/twin"
)

const (
	benchConns  = 100
	benchWindow = 16
)

// load publishes b.N messages of about 200 bytes over benchConns connections with benchWindow outstanding each and waits
// for every PUBACK; it reports messages a second.
func load(b *testing.B, addr string) {
	b.Helper()
	conns := make([]net.Conn, benchConns)
	for i := range conns {
		conns[i] = dialWire(b, addr, vaultmesh.DeviceID(fmt.Sprintf("sub-%d", i))).Conn
		_ = conns[i].SetDeadline(time.Time{})
	}
	base := time.Now().UTC().Truncate(time.Second)
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for i, c := range conns {
		share := b.N / benchConns
		if i < b.N%benchConns {
			share++
		}
		topic := fmt.Sprintf("vm/sub-%d/tel/bus-%d", i, i)
		window := make(chan struct{}, benchWindow)
		wg.Go(func() {
			r := bufio.NewReader(c)
			ack := make([]byte, 4)
			for range share {
				if _, err := io.ReadFull(r, ack); err != nil || ack[0] != 0x40 {
					b.Errorf("acknowledgement: %x %v", ack, err)
					return
				}
				<-window
			}
		})
		wg.Go(func() {
			w := bufio.NewWriter(c)
			for k := range share {
				select {
				case window <- struct{}{}:
				default:
					_ = w.Flush()
					window <- struct{}{}
				}
				body := fmt.Appendf(nil, `{"t":"%s","seq":%d,"telemetry":{"voltage":1.0123456,"angle":-12.345678,"activePower":123.456,"reactivePower":-45.678},"properties":{"closed":true,"tap":0.985},"q":{"angle":"good"}}`,
					base.Add(time.Duration(k)).Format("2006-01-02T15:04:05.000000Z"), k%65536)
				_, _ = w.Write(publishFrame(topic, uint16(k%65535+1), body))
			}
			_ = w.Flush()
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "msg/s")
}

// BenchmarkIngest compares the broker over an instant journal with bare mochi, which parses nothing, merges
// nothing and acknowledges from memory. Run: go test -run xxx -bench Ingest -benchtime 300000x ./device
func BenchmarkIngest(b *testing.B) {
	b.Run("bare mochi", func(b *testing.B) {
		s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
		if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
			b.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		if err := s.AddListener(listeners.NewNet("tcp", l)); err != nil {
			b.Fatal(err)
		}
		if err := s.Serve(); err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		load(b, l.Addr().String())
	})
	b.Run("instant journal", func(b *testing.B) {
		n := start(b, nil)
		load(b, n.InsecureAddr())
		report(b, n.Stats())
	})
	b.Run("journal on disk", func(b *testing.B) {
		n := start(b, realStack(b))
		load(b, n.InsecureAddr())
		report(b, n.Stats())
	})
}

// realStack replaces the fakes by the journal, the log and the twin store.
func realStack(b *testing.B) func(*device.Options, *node) {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	models, err := dtdl.Parse([]dtdl.Document{{Name: "Bus.json", Data: []byte(`{"@context":"dtmi:dtdl:context;4","@id":"dtmi:org:vaultmesh:bench:Bus;1","@type":"Interface","contents":[
		{"@type":"Telemetry","name":"voltage","schema":"double"},{"@type":"Telemetry","name":"angle","schema":"double"},
		{"@type":"Telemetry","name":"activePower","schema":"double"},{"@type":"Telemetry","name":"reactivePower","schema":"double"},
		{"@type":"Property","name":"closed","schema":"boolean"},{"@type":"Property","name":"tap","schema":"double"}]}`)}}, dtdl.Options{})
	check(err)
	log := logs.Open(b, b.TempDir())
	j := log.J
	b.Cleanup(func() { j.Close() })
	twins := twin.NewStore(twin.Options{Models: models, Now: time.Now})
	check(twins.Load(j))
	check(j.Submit(b.Context(), journal.Commands, func(tx journal.Tx) error {
		for i := range benchConns {
			d := twin.Definition{ID: vaultmesh.TwinID(fmt.Sprintf("bus-%d", i)), Model: "dtmi:org:vaultmesh:bench:Bus;1", Device: vaultmesh.DeviceID(fmt.Sprintf("sub-%d", i))}
			if err := twins.Define(tx, d); err != nil {
				return err
			}
		}
		return nil
	}))
	return func(o *device.Options, _ *node) { o.Journal, o.Log, o.Twins = j, log.Log, twins }
}

func report(b *testing.B, s device.Stats) {
	b.ReportMetric(s.BatchSize.Sum/float64(max(1, s.BatchSize.Count)), "msg/batch")
	b.ReportMetric(1e3*s.CommitLatency.Sum/float64(max(1, s.CommitLatency.Count)), "ms/msg")
}
