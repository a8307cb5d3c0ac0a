package pgdt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/energy/grid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTestFleet(t testing.TB, change func(*Config)) *fleet {
	t.Helper()
	cfg := config(t, "ieee14")
	cfg.Now = func() time.Time { return noon }
	if change != nil {
		change(cfg)
	}
	f, err := newFleet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func order(id string, twin vaultmesh.TwinID, name, args string) client.Command {
	return client.Command{ID: vaultmesh.CommandID(id), Twin: twin, Name: name, Args: json.RawMessage(args), Expires: noon.Add(time.Minute)}
}

func TestCommands(t *testing.T) {
	cases := []struct {
		name   string
		device vaultmesh.DeviceID
		cmd    client.Command
		code   string
		report string // of the twin, after the command, as JSON
	}{
		{"open", "sub-1", order("1", "line-1-2", grid.OpenBreaker, ""), codeDone, `{"closed":false}`},
		{"open with null", "sub-1", order("1", "line-1-2", grid.OpenBreaker, "null"), codeDone, `{"closed":false}`},
		{"close what is closed", "sub-1", order("1", "line-1-2", grid.CloseBreaker, "{}"), codeDone, `{"closed":true}`},
		{"open with arguments", "sub-1", order("1", "line-1-2", grid.OpenBreaker, `{"now":1}`), codeArguments, `{"closed":true}`},
		{"another device's twin", "sub-2", order("1", "line-1-2", grid.OpenBreaker, ""), codeNotMine, `{"closed":true}`},
		{"no such twin", "sub-1", order("1", "line-1-99", grid.OpenBreaker, ""), codeNotMine, ""},
		{"no such command", "sub-1", order("1", "line-1-2", "explode", ""), codeUnknown, ""},
		{"command on a bus", "sub-1", order("1", "bus-1", grid.OpenBreaker, ""), codeUnknown, ""},
		{"tap", "sub-4", order("1", "transformer-4-7", grid.SetTap, `{"ratio":0.9812}`), codeDone, `{"closed":true,"tap":0.98125}`},
		{"tap too far", "sub-4", order("1", "transformer-4-7", grid.SetTap, `{"ratio":1.11}`), codeOutOfRange, `{"closed":true,"tap":0.978}`},
		{"tap as text", "sub-4", order("1", "transformer-4-7", grid.SetTap, `{"ratio":"1"}`), codeArguments, `{"closed":true,"tap":0.978}`},
		{"tap of a line", "sub-1", order("1", "line-1-2", grid.SetTap, `{"ratio":1}`), codeUnknown, ""},
		{"set-point", "sub-2", order("1", "gen-2", grid.SetActivePower, `{"megawatts":55.5}`), codeDone, `{"connected":true,"activePowerSetpoint":55.5,"voltageSetpoint":1.045}`},
		{"set-point too high", "sub-2", order("1", "gen-2", grid.SetActivePower, `{"megawatts":140.1}`), codeOutOfRange, `{"connected":true,"activePowerSetpoint":40,"voltageSetpoint":1.045}`},
		{"set-point too low", "sub-2", order("1", "gen-2", grid.SetActivePower, `{"megawatts":-1}`), codeOutOfRange, ""},
		{"set-point missing", "sub-2", order("1", "gen-2", grid.SetActivePower, `{}`), codeArguments, ""},
		{"voltage", "sub-2", order("1", "gen-2", grid.SetVoltage, `{"perUnit":1.03}`), codeDone, `{"connected":true,"activePowerSetpoint":40,"voltageSetpoint":1.03}`},
		{"voltage too high", "sub-2", order("1", "gen-2", grid.SetVoltage, `{"perUnit":1.3}`), codeOutOfRange, ""},
		{"disconnect", "sub-2", order("1", "gen-2", grid.Disconnect, ""), codeDone, `{"connected":false,"activePowerSetpoint":40,"voltageSetpoint":1.045}`},
		{"shed", "sub-3", order("1", "load-3", grid.ShedLoad, `{"fraction":0.25}`), codeDone, `{"connected":true,"shedFraction":0.25}`},
		{"shed too much", "sub-3", order("1", "load-3", grid.ShedLoad, `{"fraction":1.5}`), codeOutOfRange, `{"connected":true,"shedFraction":0}`},
		{"restore", "sub-3", order("1", "load-3", grid.RestoreLoad, ""), codeDone, `{"connected":true,"shedFraction":0}`},
		{"shunt", "sub-9", order("1", "shunt-9", grid.Disconnect, ""), codeDone, `{"connected":false}`},
		{"shunt explodes", "sub-9", order("1", "shunt-9", "explode", ""), codeUnknown, `{"connected":true}`},
		{"fault without an element", "control-center", order("1", "grid", grid.InjectFault, `{"element":"","kind":"branchTrip"}`), codeArguments, ""},
		{"fault of another kind", "control-center", order("1", "grid", grid.InjectFault, `{"element":"line-1-2","kind":"meteor"}`), codeArguments, ""},
		{"branch trip of a unit", "control-center", order("1", "grid", grid.InjectFault, `{"element":"gen-2","kind":"branchTrip"}`), codeArguments, ""},
		{"unit trip", "control-center", order("1", "grid", grid.InjectFault, `{"element":"gen-2","kind":"generatorTrip"}`), codeDone, ""},
		{"fault that is no object", "control-center", order("1", "grid", grid.InjectFault, `7`), codeArguments, ""},
		{"long arguments", "sub-1", order("1", "line-1-2", grid.OpenBreaker, `{"x":"`+strings.Repeat("x", 2000)+`"}`), codeArguments, ""},
		{"expired", "sub-1", client.Command{ID: "1", Twin: "line-1-2", Name: grid.OpenBreaker, Expires: noon}, codeExpired, `{"closed":true}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newTestFleet(t, nil)
			r := f.command(c.device, c.cmd)
			if r.Code != c.code || r.OK != (c.code == codeDone) || !r.Time.Equal(noon) || len(r.Detail) > 512 {
				t.Fatalf("%+v, want code %s", r, c.code)
			}
			if c.report == "" {
				return
			}
			_, raw := f.message(f.world.byID[c.cmd.Twin], noon, 0, false, true)
			if want := `{"t":"2026-03-01T12:00:00.000000Z","seq":0,"properties":` + c.report + `}`; string(raw) != want {
				t.Fatalf("reports\n%s, want\n%s", raw, want)
			}
		})
	}
}

func TestStuckSensor(t *testing.T) {
	f := newTestFleet(t, nil)
	point := f.world.byID["bus-4"]
	read := func() string { return fmt.Sprint(f.world.measure(point, nil)) }
	f.command(grid.ControlCenter, order("1", "grid", grid.InjectFault, `{"element":"bus-4","kind":"sensorStuck"}`))
	first := read()
	f.world.mustStep(t)
	if read() != first {
		t.Fatal("a stuck sensor moves")
	}
	f.command(grid.ControlCenter, order("2", "grid", grid.InjectFault, `{"element":"","kind":"clear"}`))
	if read() == first {
		t.Fatal("a cleared sensor does not move")
	}
}

func TestACommandActsOnce(t *testing.T) {
	f := newTestFleet(t, nil)
	first := f.command("sub-1", order("a", "line-1-2", grid.OpenBreaker, ""))
	f.command("sub-1", order("b", "line-1-2", grid.CloseBreaker, ""))
	again := f.command("sub-1", order("a", "line-1-2", grid.OpenBreaker, ""))
	if fmt.Sprint(again) != fmt.Sprint(first) {
		t.Fatalf("%+v, then %+v", first, again)
	}
	if !f.world.closed[0] {
		t.Fatal("the repetition opened the breaker again")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	at := noon
	f := newTestFleet(t, func(c *Config) { c.Now = func() time.Time { return at } })
	f.memory.limit = 2
	f.command("sub-1", order("a", "line-1-2", grid.OpenBreaker, ""))
	f.command("sub-1", order("b", "line-1-2", grid.CloseBreaker, ""))
	if r := f.command("sub-1", order("c", "line-1-2", grid.OpenBreaker, "")); r.Code != codeBusy || !f.world.closed[0] {
		t.Fatalf("%+v", r)
	}
	at = noon.Add(time.Minute)
	late := order("d", "line-1-2", grid.OpenBreaker, "")
	late.Expires = at.Add(time.Minute)
	if r := f.command("sub-1", late); r.Code != codeDone || len(f.memory.commands) != 1 {
		t.Fatalf("%+v, %d remembered", r, len(f.memory.commands))
	}
}

func TestStateFileOutlivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.json")
	with := func(c *Config) { c.StateFile = path }
	f := newTestFleet(t, with)
	opened := f.command("sub-13", order("a", "line-13-14", grid.OpenBreaker, ""))
	f.command("sub-2", order("b", "gen-2", grid.SetActivePower, `{"megawatts":50}`))
	f.command("sub-3", order("c", "load-3", grid.ShedLoad, `{"fraction":0.5}`))

	g := newTestFleet(t, with)
	i := g.world.points[g.world.byID["line-13-14"]].index
	if g.world.closed[i] || g.world.gens[1].target != 50 || g.world.loads[2].shed != 0.5 {
		t.Fatal("the state was lost")
	}
	g.world.closed[i] = true
	if again := g.command("sub-13", order("a", "line-13-14", grid.OpenBreaker, "")); fmt.Sprint(again) != fmt.Sprint(opened) || !g.world.closed[i] {
		t.Fatalf("after a restart the repetition was answered with %+v, at first %+v", again, opened)
	}
	for name, content := range map[string]string{"damaged": `{"version":1,`, "another grid": `{"version":1,"case":"ieee30"}`, "another version": `{"version":2,"case":"ieee14"}`} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := config(t, "ieee14")
			cfg.StateFile = path
			if _, err := newFleet(cfg); vaultmesh.KindOf(err) != vaultmesh.Corrupt || err == nil {
				t.Fatal(err)
			}
		})
	}
}

// A command that cannot be remembered is not carried out: its repetition would act again.
func TestWithoutStorageNothingIsDone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := newTestFleet(t, func(c *Config) { c.StateFile = filepath.Join(dir, "fleet.json") })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	r := f.command("sub-1", order("a", "line-1-2", grid.OpenBreaker, ""))
	if r.OK || r.Code != codeStorage || !f.world.closed[0] {
		t.Fatalf("%+v, closed %v", r, f.world.closed[0])
	}
}

// wire is a link in memory; the test decides when messages are acknowledged.
type wire struct {
	mu      sync.Mutex
	onState func(bool, error)
	handler func(client.Command) client.Response
	sent    chan sent
	closed  bool
}

type sent struct {
	twin    vaultmesh.TwinID
	payload string
	acked   func(error)
}

func (w *wire) Publish(ctx context.Context, twin vaultmesh.TwinID, payload []byte, acked func(error)) error {
	select {
	case w.sent <- sent{twin, string(payload), acked}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *wire) Handle(fn func(client.Command) client.Response) {
	w.mu.Lock()
	w.handler = fn
	w.mu.Unlock()
}

func (w *wire) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
}

// A station whose node is away keeps nothing but what is due, then tells the present state, and on a new connection
// all properties.
func TestAStationTellsTheLatest(t *testing.T) {
	f := newTestFleet(t, nil)
	s := f.at[f.world.byID["line-1-2"]]
	w := &wire{sent: make(chan sent, 100)}
	s.link = w
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.run(ctx) })
	defer wg.Wait()
	defer stop()

	line := f.world.byID["line-1-2"]
	s.due(line)
	first := <-w.sent
	if first.twin != "line-1-2" || !strings.Contains(first.payload, `"telemetry"`) || strings.Contains(first.payload, `"properties"`) {
		t.Fatalf("%+v", first)
	}
	// The node does not answer while much happens.
	for i := range 1000 {
		s.due(line)
		s.fleet.command("sub-1", order(fmt.Sprint(i), "line-1-2", []string{grid.OpenBreaker, grid.CloseBreaker}[i%2], ""))
	}
	f.command("sub-1", order("last", "line-1-2", grid.OpenBreaker, ""))
	if len(w.sent) != 0 {
		t.Fatalf("%d messages of one twin are in flight", len(w.sent)+1)
	}
	first.acked(nil)
	second := <-w.sent
	if !strings.Contains(second.payload, `"closed":false`) || !strings.Contains(second.payload, `"telemetry"`) || !strings.Contains(second.payload, `"seq":1,`) {
		t.Fatalf("%+v", second)
	}
	second.acked(nil)
	if len(w.sent) != 0 {
		t.Fatal("something was queued")
	}
	s.connection(false, errors.New("the cable is cut"))
	s.connection(true, nil)
	reported := map[vaultmesh.TwinID]bool{}
	with := len(s.slots) - 1 // the bus has no properties
	for range with {
		m := <-w.sent
		reported[m.twin] = true
		m.acked(nil)
	}
	if len(reported) != with || reported["bus-1"] {
		t.Fatalf("after a reconnection %v reported, want %d twins", reported, with)
	}
}

// Properties that the node refused are told again with the next message.
func TestRefusedPropertiesAreToldAgain(t *testing.T) {
	f := newTestFleet(t, nil)
	line := f.world.byID["line-1-2"]
	s := f.at[line]
	w := &wire{sent: make(chan sent, 10)}
	s.link = w
	s.changed(line)
	if err := s.send(t.Context(), s.byPt[line]); err != nil {
		t.Fatal(err)
	}
	(<-w.sent).acked(vaultmesh.Errorf(vaultmesh.Invalid, "test", "", "no"))
	s.due(line)
	if err := s.send(t.Context(), s.byPt[line]); err != nil {
		t.Fatal(err)
	}
	if m := <-w.sent; !strings.Contains(m.payload, `"closed":true`) {
		t.Fatalf("%+v", m)
	}
}

func TestRunConnectsSpeaksAndEnds(t *testing.T) {
	var mu sync.Mutex
	wires := map[vaultmesh.DeviceID]*wire{}
	all := make(chan sent, 10_000)
	ready := make(chan Ready, 1)
	cfg := *config(t, "ieee14")
	cfg.Step = 20 * time.Millisecond
	cfg.Ready = func(r Ready) { ready <- r }
	cfg.dial = func(_ context.Context, device vaultmesh.DeviceID, window int, onState func(bool, error)) (link, error) {
		w := &wire{sent: all, onState: onState}
		mu.Lock()
		wires[device] = w
		mu.Unlock()
		onState(true, nil)
		return w, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	r := <-ready
	if !r.Ready || r.Devices != 15 || r.Case != "ieee14" || r.Twins != len(grid.Twins(cfg.Case)) {
		t.Fatalf("%+v", r)
	}
	properties, telemetry := map[vaultmesh.TwinID]bool{}, map[vaultmesh.TwinID]int{}
	for len(properties) < r.Twins || len(telemetry) < r.Twins || telemetry["bus-1"] < 3 {
		m := <-all
		properties[m.twin] = true // each twin's first message reports its properties
		if strings.Contains(m.payload, `"telemetry"`) {
			telemetry[m.twin]++
		}
		m.acked(nil)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for device, w := range wires {
		if !w.closed {
			t.Errorf("%s was not closed", device)
		}
	}
}

func TestRunEndsWhereADeviceIsNotAdmitted(t *testing.T) {
	cfg := *config(t, "ieee14")
	cfg.dial = func(_ context.Context, device vaultmesh.DeviceID, _ int, _ func(bool, error)) (link, error) {
		if device == "sub-7" {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, "device.connect", string(device), "not enrolled")
		}
		return &wire{sent: make(chan sent, 1)}, nil
	}
	if err := Run(t.Context(), cfg); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Fatal(err)
	}
}

func TestIdentityNeedsItsFiles(t *testing.T) {
	cfg := config(t, "ieee14")
	cfg.CertDir = t.TempDir()
	if _, err := cfg.identity("sub-1"); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.CertDir, "ca.crt"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.identity("sub-1"); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Fatal(err)
	}
	cfg.CertDir = ""
	if _, err := cfg.connect(t.Context(), "sub-1", 1, nil); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Fatal(err)
	}
}
