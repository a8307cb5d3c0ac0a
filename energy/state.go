package energy

import (
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// Switch positions as they enter the topology digest.
const (
	positionOff byte = iota
	positionOn
	positionUnknown
)

// unit is the live state of a generator.
type unit struct {
	on    bool
	p, v  float64 // set-points, MW and pu
	known bool    // of a unit that is off: whether its set-points can be used
}

// demand is the live state of a load.
type demand struct {
	on         bool
	shed, p, q float64 // fraction; MW and MVAr as measured, after shedding
}

// state is what the devices report, in the order of the frame, and what is wrong with it.
type state struct {
	closed []bool    // parallel to the case's Branches
	tap    []float64 // likewise; 0 for a line, NaN where an open transformer's is not known
	gens   []unit
	loads  []demand
	shunts []bool
	start  powerflow.Solution // measured voltages: where the first solve starts
	oldest time.Duration      // age of the oldest input that was used
	topo   []byte             // one position per switchable element, in the order of the entries
	unusable
}

// unusable collects the inputs that cannot be used; it keeps the text of the first.
type unusable struct {
	count int
	first refusal
}

func (u *unusable) add(format string, args ...any) {
	if u.count == 0 {
		u.first = refusal(fmt.Sprintf(format, args...))
	}
	u.count++
}

func (u *unusable) refusal() refusal {
	switch u.count {
	case 0:
		return ""
	case 1:
		return u.first
	}
	return refusal(fmt.Sprintf("%s; and %d more inputs", u.first, u.count-1))
}

func newState(f *frame) *state {
	nb := len(f.c.Buses)
	return &state{
		closed: make([]bool, len(f.c.Branches)), tap: make([]float64, len(f.c.Branches)),
		gens: make([]unit, len(f.c.Gens)), loads: make([]demand, len(f.loads)), shunts: make([]bool, len(f.shunts)),
		start: powerflow.Solution{Vm: make([]float64, nb), Va: make([]float64, nb), Dead: make([]bool, nb), IslandOf: make([]int32, nb)},
		topo:  make([]byte, 0, len(f.entries)),
	}
}

// source is one twin as the simulator reads it. Names are unique within a model, so that a value needs no kind.
type source interface {
	Definition() *twin.Definition
	Seen() time.Time
	Value(name string) (twin.Value, bool)
}

// readings is what a view can offer beside Each, as twin.Snapshot does: twins without the maps of a twin.Twin, which
// would have to be made for every twin that has changed since the last look.
type readings interface {
	EachReading(fn func(twin.Reading) bool)
}

// whole is a twin of a view that offers no readings.
type whole struct{ twin.Twin }

func (w *whole) Definition() *twin.Definition { return &w.Twin.Definition }
func (w *whole) Seen() time.Time              { return w.Twin.Seen }
func (w *whole) Value(name string) (twin.Value, bool) {
	if v, ok := w.Reported[name]; ok {
		return v, true
	}
	v, ok := w.Telemetry[name]
	return v, ok
}

// each calls fn for every twin of the view in ascending order of its identifier until fn returns false; the source is
// valid during the call.
func each(view whatif.View, fn func(source) bool) {
	if v, ok := view.(readings); ok {
		v.EachReading(func(r twin.Reading) bool { return fn(r) })
		return
	}
	var w whole
	view.Each(func(t twin.Twin) bool {
		w.Twin = t
		return fn(&w)
	})
}

// read fills st from the view. It reports false where the view's definitions are not those of f; st is then undefined.
func (f *frame) read(view whatif.View, maxAge time.Duration, kindOf func(string) (grid.ElementKind, bool), st *state) bool {
	st.oldest, st.topo, st.unusable = 0, st.topo[:0], unusable{}
	r := reader{st: st, now: view.Time(), maxAge: maxAge}
	next, same := 0, true
	each(view, func(t source) bool {
		d := t.Definition()
		if next < len(f.entries) && f.entries[next].matches(d) {
			r.id, r.seen, r.t = d.ID, t.Seen(), t
			r.element(f, &f.entries[next])
			next++
			return true
		}
		_, isGrid := kindOf(d.Model)
		same = !isGrid
		return same
	})
	if !same || next != len(f.entries) {
		return false
	}
	// The case holds the slack bus at angle 0.
	reference := st.start.Va[f.slack]
	for i := range st.start.Va {
		if !st.start.Dead[i] {
			st.start.Va[i] -= reference
		}
	}
	return true
}

// reader takes values out of twins and judges whether they may be used.
type reader struct {
	st     *state
	now    time.Time
	maxAge time.Duration
	// The twin at hand.
	t    source
	id   vaultmesh.TwinID
	seen time.Time
}

func (r *reader) element(f *frame, e *entry) {
	st := r.st
	switch e.kind {
	case grid.KindBus:
		r.startVoltage(e.index)
	case grid.KindBranch:
		st.closed[e.index] = r.position(grid.Closed)
		st.tap[e.index] = r.ratio(f.taps[e.index].max > 0, st.closed[e.index])
	case grid.KindGen:
		u := unit{on: r.position(grid.Connected)}
		read := func() { u.p, u.v = r.property(grid.ActivePowerSetpoint), r.property(grid.VoltageSetpoint) }
		if u.on {
			read()
			u.known = true
		} else {
			u.known = r.idle(read)
		}
		st.gens[e.index] = u
	case grid.KindLoad:
		d := demand{on: r.position(grid.Connected)}
		if d.on {
			d.shed = r.property(grid.Shed)
			d.p, d.q = r.measurement(grid.ActivePower), r.measurement(grid.ReactivePower)
		}
		st.loads[e.index] = d
	case grid.KindShunt:
		st.shunts[e.index] = r.position(grid.Connected)
	}
}

// position reads a switch and records it for the topology digest whatever its quality: the digest says what is
// reported, and the inputs say whether that can be used.
func (r *reader) position(name string) bool {
	v, present := r.t.Value(name)
	on, ok := false, false
	if present {
		on, ok = boolean(v.V)
	}
	position := positionUnknown
	if ok {
		position = positionOff
		if on {
			position = positionOn
		}
	}
	r.st.topo = append(r.st.topo, position)
	if !r.usable(name, v, present, r.seen) {
		return false
	}
	if !ok {
		r.st.add("%s %s is not a boolean", r.id, name)
	}
	return on
}

// ratio reads the tap of a transformer.
func (r *reader) ratio(hasTaps, closed bool) (tap float64) {
	if !hasTaps {
		return 0
	}
	read := func() { tap = r.property(grid.Tap) }
	if closed {
		read()
	} else if !r.idle(read) {
		return math.NaN()
	}
	return tap
}

// idle reads values of an element that is out of service: they become inputs only if the command puts it back. It
// reports whether they can be used, and leaves no other trace.
func (r *reader) idle(read func()) bool {
	unusable, oldest := r.st.unusable, r.st.oldest
	read()
	ok := r.st.count == unusable.count
	r.st.unusable, r.st.oldest = unusable, oldest
	return ok
}

func (r *reader) property(name string) float64 {
	v, present := r.t.Value(name)
	return r.number(name, v, present, r.seen)
}

func (r *reader) measurement(name string) float64 {
	v, present := r.t.Value(name)
	return r.number(name, v, present, v.T)
}

func (r *reader) number(name string, v twin.Value, present bool, at time.Time) float64 {
	if !r.usable(name, v, present, at) {
		return 0
	}
	x, ok := number(v.V)
	if !ok {
		r.st.add("%s %s is not a finite number", r.id, name)
	}
	return x
}

// usable checks presence, quality and age. A value from the future of this node counts as fresh: the store has
// bounded the drift of the device's clock.
func (r *reader) usable(name string, v twin.Value, present bool, at time.Time) bool {
	if !present {
		r.st.add("%s has not reported %s", r.id, name)
		return false
	}
	if v.Q != twin.Good {
		r.st.add("%s %s is of quality %s", r.id, name, qualityWord(v.Q))
		return false
	}
	age := max(r.now.Sub(at), 0)
	if age > r.st.oldest {
		r.st.oldest = min(age, whatif.MaxOldestData)
	}
	if age > r.maxAge {
		r.st.add("%s %s is %s old, the limit is %s", r.id, name, age.Round(time.Millisecond), r.maxAge)
		return false
	}
	return true
}

func qualityWord(q twin.Quality) string {
	switch q {
	case twin.Questionable:
		return "questionable"
	case twin.Invalid:
		return "invalid"
	}
	return fmt.Sprintf("unknown (%d)", q)
}

// startVoltage takes a measured voltage as the place where Newton's method starts. It is no input: where it is missing
// or implausible the bus starts flat.
func (r *reader) startVoltage(bus int) {
	s := &r.st.start
	magnitude, _ := r.t.Value(grid.Voltage)
	angle, _ := r.t.Value(grid.Angle)
	vm, okM := number(magnitude.V)
	va, okA := number(angle.V)
	s.Dead[bus] = !okM || !okA || vm < 0.5 || vm > 1.5
	if s.Dead[bus] {
		s.Vm[bus], s.Va[bus], s.IslandOf[bus] = 0, 0, -1
		return
	}
	s.Vm[bus], s.Va[bus], s.IslandOf[bus] = vm, va*math.Pi/180, 0
}

// topology commits to the definitions and to the position of every switchable element.
func (f *frame) topology(st *state) vaultmesh.Digest {
	h := sha256.New()
	h.Write([]byte("vaultmesh energy topology/1\n"))
	h.Write(f.digest[:])
	h.Write(st.topo)
	var d vaultmesh.Digest
	h.Sum(d[:0])
	return d
}
