package pgdt

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/journal/durable"
)

// maxRemembered bounds the commands that a fleet remembers. Beyond it new commands are refused: to forget one that
// has not expired would let its repetition act twice.
const maxRemembered = 65536

// answered is the answer to one command, kept until the command expires: a repetition gets it again.
type answered struct {
	Device  vaultmesh.DeviceID `json:"device"`
	Expires time.Time          `json:"expires"`
	OK      bool               `json:"ok"`
	Code    string             `json:"code"`
	Detail  string             `json:"detail,omitempty"`
	Time    time.Time          `json:"time"`
}

// memory of the fleet over the commands of all devices. Not safe for concurrent use.
type memory struct {
	limit    int
	commands map[vaultmesh.CommandID]answered
}

// find returns the answer that was given to a command of the device.
func (m *memory) find(id vaultmesh.CommandID, device vaultmesh.DeviceID) (client.Response, bool) {
	a, ok := m.commands[id]
	return client.Response{OK: a.OK, Code: a.Code, Detail: a.Detail, Time: a.Time}, ok && a.Device == device
}

// room makes room for one more command by forgetting those that have expired.
func (m *memory) room(now time.Time) bool {
	if len(m.commands) < m.limit {
		return true
	}
	for id, a := range m.commands {
		if !now.Before(a.Expires) {
			delete(m.commands, id)
		}
	}
	return len(m.commands) < m.limit
}

// saved is the content of the state file: what a substation's own controllers would keep over a power cycle.
type saved struct {
	Version  int                              `json:"version"`
	Case     string                           `json:"case"`
	Commands map[vaultmesh.CommandID]answered `json:"commands"`
	Closed   []bool                           `json:"closed"`
	Tap      []float64                        `json:"tap"`
	Gens     []savedUnit                      `json:"generators"`
	Shed     []float64                        `json:"shed"`
	Shunts   []bool                           `json:"shunts"`
}

type savedUnit struct {
	On     bool    `json:"on"`
	Target float64 `json:"target"`
	Power  float64 `json:"power"`
	V      float64 `json:"voltage"`
}

// maxStateFile bounds what is read back, in bytes.
const maxStateFile = 64 << 20

// save writes the state file and makes it durable before it returns: a temporary file, renamed over the old one.
func (f *fleet) save() error {
	if f.cfg.StateFile == "" {
		return nil
	}
	w := f.world
	s := saved{Version: 1, Case: w.c.Name, Commands: f.memory.commands, Closed: w.closed, Tap: w.tap, Shunts: w.shunts}
	for _, u := range w.gens {
		s.Gens = append(s.Gens, savedUnit{u.on, u.target, u.p, u.v})
	}
	for _, l := range w.loads {
		s.Shed = append(s.Shed, l.shed)
	}
	b, err := json.Marshal(s)
	if err == nil {
		err = durable.Replace(f.cfg.StateFile, b, 0o600)
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "pgdt.save", f.cfg.StateFile, "cannot write the state").Because(err)
	}
	return nil
}

// load takes over the state file, if there is one. A file of another case, a damaged one, or one whose state has no
// solution is refused (Corrupt), never guessed at.
func (f *fleet) load() error {
	const op = "pgdt.load"
	path := f.cfg.StateFile
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Size() > maxStateFile {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, path, "%d bytes, the limit is %d", info.Size(), maxStateFile)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot read the state").Because(err)
	}
	w := f.world
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "not a state file").Because(err).WithFix("remove it to start from the case")
	}
	if s.Version != 1 || s.Case != w.c.Name || len(s.Closed) != len(w.closed) || len(s.Tap) != len(w.tap) || len(s.Gens) != len(w.gens) ||
		len(s.Shed) != len(w.loads) || len(s.Shunts) != len(w.shunts) || len(s.Commands) > maxRemembered {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "it is the state of another grid").WithFix("name another file, or remove it to start from the case")
	}
	copy(w.closed, s.Closed)
	copy(w.tap, s.Tap)
	copy(w.shunts, s.Shunts)
	for i, u := range s.Gens {
		w.gens[i] = unit{on: u.On, target: u.Target, p: u.Power, v: u.V}
	}
	for i, shed := range s.Shed {
		w.loads[i].shed = max(0, min(1, shed))
	}
	if s.Commands != nil {
		f.memory.commands = s.Commands
	}
	if err := w.solve(); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, path, "the state that it holds has no solution").Because(err).WithFix("remove it to start from the case")
	}
	w.freq.settle(w)
	return nil
}
