package pgdt

import (
	"context"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
)

// slot is one twin of a station. Nothing is queued for it: the flags say what is due, and the message is made of the
// state of the moment when it is sent. So a station that cannot send needs no memory, and then tells the latest.
type slot struct {
	point      int
	telemetry  bool // due
	properties bool // due
	inFlight   bool // a message waits for its acknowledgement

	last time.Time // of the last message, and its place among those of the same microsecond
	seq  uint16
}

// station is one device: a connection, and the twins that it speaks for.
type station struct {
	fleet  *fleet
	device vaultmesh.DeviceID
	link   link          // set before run
	wake   chan struct{} // capacity 1

	mu    sync.Mutex
	slots []slot
	byPt  map[int]int // point to slot
	bad   int         // refusals that were logged
}

func (s *station) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// due marks the telemetry of a point; it is sent as soon as the station can.
func (s *station) due(point int) {
	s.mu.Lock()
	s.slots[s.byPt[point]].telemetry = true
	s.mu.Unlock()
	s.poke()
}

// changed marks the reported properties of a point.
func (s *station) changed(point int) {
	s.mu.Lock()
	s.slots[s.byPt[point]].properties = true
	s.mu.Unlock()
	s.poke()
}

// connection is told when the link comes and goes. Each new connection reports all properties, since the node may
// have missed what changed while the station was away.
func (s *station) connection(up bool, err error) {
	if !up {
		s.fleet.cfg.Logger.Info("device disconnected", "device", s.device, "error", err)
		return
	}
	s.mu.Lock()
	for i := range s.slots {
		s.slots[i].properties = s.fleet.world.reports(s.slots[i].point)
	}
	s.mu.Unlock()
	s.poke()
}

// run sends what is due until ctx ends.
func (s *station) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for i := range s.slots {
			if err := s.send(ctx, i); err != nil {
				return
			}
		}
	}
}

// send publishes slot i if something is due and nothing in flight.
func (s *station) send(ctx context.Context, i int) error {
	s.mu.Lock()
	sl := &s.slots[i]
	telemetry, properties := sl.telemetry, sl.properties
	if sl.inFlight || !telemetry && !properties {
		s.mu.Unlock()
		return nil
	}
	sl.telemetry, sl.properties, sl.inFlight = false, false, true
	at, seq := sl.stamp(s.fleet.cfg.Now())
	s.mu.Unlock()

	id, payload := s.fleet.message(sl.point, at, seq, telemetry, properties)
	return s.link.Publish(ctx, id, payload, func(err error) { s.acknowledged(i, properties, err) })
}

// stamp orders the messages of one twin: time never runs back, and the sequence number tells those of one microsecond
// apart.
func (sl *slot) stamp(now time.Time) (time.Time, uint16) {
	now = now.Truncate(time.Microsecond)
	if now.After(sl.last) {
		sl.last, sl.seq = now, 0
	} else {
		sl.seq++
	}
	return sl.last, sl.seq
}

// maxLogged bounds how many refused messages of one device are logged: one that is refused is refused again.
const maxLogged = 5

// acknowledged frees the slot. A message that the node refused for good is not sent again, but its properties are due
// once more with the next telemetry, when the reason may be gone.
func (s *station) acknowledged(i int, properties bool, err error) {
	s.mu.Lock()
	sl := &s.slots[i]
	sl.inFlight = false
	more := sl.telemetry || sl.properties
	logged := true
	if err != nil {
		sl.properties = sl.properties || properties
		s.bad++
		logged = s.bad > maxLogged
	}
	s.mu.Unlock()
	if !logged && vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		s.fleet.cfg.Logger.Warn("the node refused a message", "device", s.device, "twin", s.fleet.world.points[sl.point].id, "error", err)
	}
	if err == nil {
		s.fleet.acked.Add(1)
	}
	if more {
		s.poke()
	}
}

// command answers one command of the node; the link calls it one at a time.
func (s *station) command(cmd client.Command) client.Response {
	return s.fleet.command(s.device, cmd)
}
