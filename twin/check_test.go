package twin

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func TestCheck(t *testing.T) {
	s := newStore(t) // its clock says one hour after the start
	data := map[string][]byte{}
	grid(t, s, data)
	now := int(time.Hour / time.Millisecond)
	quality := func(m *Message, q map[string]Quality) *Message { m.Quality = q; return m }
	from := func(m *Message, twin vaultmesh.TwinID, device vaultmesh.DeviceID) *Message {
		m.Twin, m.Device = twin, device
		return m
	}
	raw := func(m *Message, b []byte) *Message { m.Raw = b; return m }
	for name, c := range map[string]struct {
		m    *Message
		kind vaultmesh.Kind
		text []string // what the error must say
	}{
		"unknown twin":          {from(message(now, 0, values("closed", "true"), nil), "nowhere", "sub-1"), vaultmesh.NotFound, []string{"nowhere"}},
		"other device":          {from(message(now, 0, values("closed", "true"), nil), "line", "sub-2"), vaultmesh.Denied, []string{"line", "sub-2"}},
		"no device":             {from(message(now, 0, values("closed", "true"), nil), "line", ""), vaultmesh.Denied, []string{"line"}},
		"no value":              {message(now, 0, nil, nil), vaultmesh.Invalid, []string{"no value", "at least one"}},
		"no raw bytes":          {raw(message(now, 0, values("closed", "true"), nil), nil), vaultmesh.Invalid, []string{"empty"}},
		"too large":             {raw(message(now, 0, values("closed", "true"), nil), bytes.Repeat([]byte(" "), 64<<10+1)), vaultmesh.TooLarge, []string{"65537", "65536"}},
		"large value":           {raw(message(now, 0, values("label", `"`+strings.Repeat("x", 64<<10)+`"`), nil), []byte("x")), vaultmesh.TooLarge, []string{"label", "65536"}},
		"future":                {message(now+7000, 0, values("closed", "true"), nil), vaultmesh.Invalid, []string{"7s ahead", "5s", "clock"}},
		"too old":               {message(now-31*24*3600*1000, 0, values("closed", "true"), nil), vaultmesh.Stale, []string{"744h0m0s", "720h0m0s"}},
		"no time":               {sealed(&Message{Twin: "line", Device: "sub-1", Properties: values("closed", "true")}), vaultmesh.Stale, []string{"field t"}},
		"unknown name":          {message(now, 0, nil, values("speed", "1")), vaultmesh.Invalid, []string{`"speed"`, "flow, loading, state"}},
		"telemetry as property": {message(now, 0, values("flow", "1"), nil), vaultmesh.Invalid, []string{"flow is a telemetry", "sent as a property"}},
		"property as telemetry": {message(now, 0, nil, values("closed", "true")), vaultmesh.Invalid, []string{"closed is a property", "sent as a telemetry"}},
		"nameplate":             {message(now, 0, values("rating", "1"), nil), vaultmesh.Invalid, []string{"rating", "nameplate"}},
		"wrong type":            {message(now, 0, values("closed", `"yes"`), nil), vaultmesh.Invalid, []string{"closed", "boolean"}},
		"null":                  {message(now, 0, nil, values("flow", "null")), vaultmesh.Invalid, []string{"flow", "double"}},
		"quality of nothing":    {quality(message(now, 0, nil, values("flow", "1")), map[string]Quality{"loading": Good}), vaultmesh.Invalid, []string{"loading"}},
		"quality out of range":  {quality(message(now, 0, nil, values("flow", "1")), map[string]Quality{"flow": 3}), vaultmesh.Invalid, []string{"flow", "questionable"}},
	} {
		err := s.Check(c.m)
		if err == nil || vaultmesh.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want kind %v", name, err, c.kind)
			continue
		}
		for _, part := range c.text {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", name, err, part)
			}
		}
	}
	for name, m := range map[string]*Message{
		"now":            message(now, 0, values("closed", "true"), values("flow", "1", "state", `"x"`)),
		"just in time":   message(now+5000, 0, values("closed", "true"), nil),
		"just not old":   message(now-30*24*3600*1000, 0, values("closed", "true"), nil),
		"quality":        quality(message(now, 0, nil, values("flow", "1")), map[string]Quality{"flow": Invalid}),
		"integer double": message(now, 0, nil, values("flow", "1")),
	} {
		if err := s.Check(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckDoesNotEchoLongInput(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	long := strings.Repeat("é", 1<<16)
	m := message(3600_000, 0, map[string]json.RawMessage{long: json.RawMessage("1")}, nil)
	m.Raw = []byte("x")
	if err := s.Check(m); err == nil || len(err.Error()) > 1000 {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
}

func TestComponentsHaveDottedNames(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	define(t, s, data, Definition{ID: "station", Model: "dtmi:test:Station;1", Device: "sub-1", Nameplate: values("north.number", "4")})
	m := sealed(&Message{Twin: "station", Device: "sub-1", Time: at(3600_000), Telemetry: values("north.voltage", "1.01", "south.voltage", "0.99")})
	must(t, s.Check(m))
	merge(t, s, data, m, 0, 0)
	if v, ok := s.Value("station", "south.voltage"); !ok || string(v.V) != "0.99" {
		t.Errorf("value %s", v.V)
	}
}
