package twin

import (
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
)

// Check reports whether m may be merged: the twin is known, the device may speak for it, there is at least one value, each
// value exists in the model, is of the kind it is sent as and has the type of the model, the qualities belong to values,
// the time is neither too far in the future nor too old, and the sizes are within bounds. The text of the error is meant
// for the device. It runs outside the journal's lane and is safe for concurrent use.
func (s *Store) Check(m *Message) error {
	const op = "twin.check"
	st := s.published(m.Twin)
	if st == nil {
		return notFound(op, m.Twin)
	}
	id := string(m.Twin)
	if err := speaksFor(op, st.def, m.Device); err != nil {
		return err
	}
	if len(m.Raw) == 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "the message is empty").WithFix("send the payload as it was signed or read")
	}
	if len(m.Raw) > s.opts.MaxMessage {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, id, "the message has %d bytes, the limit is %d", len(m.Raw), s.opts.MaxMessage).WithFix("send fewer values in one message")
	}
	if err := s.checkTime(op, id, m.Time); err != nil {
		return err
	}
	if len(m.Properties)+len(m.Telemetry) == 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "the message has no value").WithFix("send at least one property or telemetry")
	}
	if err := s.checkValues(op, st.def, m.Properties, property); err != nil {
		return err
	}
	if err := s.checkValues(op, st.def, m.Telemetry, telemetry); err != nil {
		return err
	}
	return checkQuality(op, id, m)
}

func speaksFor(op string, d *definition, device vaultmesh.DeviceID) error {
	if d.Device != "" && d.Device == device {
		return nil
	}
	e := vaultmesh.Errorf(vaultmesh.Denied, op, string(d.ID), "device %s may not speak for this twin", clip(string(device)))
	if d.Device == "" {
		return e.WithFix("the twin has no device: define it with one")
	}
	return e.WithFix("only the device that the twin is defined with may")
}

func (s *Store) checkTime(op, id string, t time.Time) error {
	now := s.opts.Now()
	if err := crdt.CheckDrift(t.UnixMicro(), now, s.opts.MaxDrift); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "field t is not acceptable").WithFix("synchronise the device's clock (NTP or PTP) and send again").Because(err)
	}
	if age := now.Sub(t); age > s.opts.MaxAge {
		return vaultmesh.Errorf(vaultmesh.Stale, op, id, "field t is %s old, the limit is %s", age.Round(time.Second), s.opts.MaxAge).WithFix("correct the device's clock; older data is imported, not sent")
	}
	return nil
}

func (s *Store) checkValues(op string, d *definition, values map[string]json.RawMessage, k kind) error {
	for name, v := range values {
		sl, err := d.slot(op, name, k)
		if err != nil {
			return err
		}
		if len(v) > s.opts.MaxMessage {
			return vaultmesh.Errorf(vaultmesh.TooLarge, op, string(d.ID), "%s %s has %d bytes, the limit is %d", k, name, len(v), s.opts.MaxMessage)
		}
		if err := sl.valid.Validate(v); err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, string(d.ID), "%s %s does not fit the model %s", k, name, d.Model).WithFix("send a value of the type that the model states").Because(err)
		}
	}
	return nil
}

// slot returns the place of a value that was sent as k, or an error of kind Invalid.
func (d *definition) slot(op, name string, k kind) (*slot, error) {
	sl, ok := d.schema.index[name]
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(d.ID), "the model %s has no %s %q", d.Model, k, clip(name)).WithFix("it has: %s", d.schema.names(k, d.Nameplate))
	}
	if sl.kind != k {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(d.ID), "%s is a %s in the model %s, and was sent as a %s", name, sl.kind, d.Model, k).WithFix("send it under the other name of the payload")
	}
	if _, fixed := d.Nameplate[name]; fixed {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(d.ID), "property %s belongs to the nameplate and is fixed", name).WithFix("change it by defining the twin again")
	}
	return sl, nil
}

func checkQuality(op, id string, m *Message) error {
	for name, q := range m.Quality {
		_, p := m.Properties[name]
		_, t := m.Telemetry[name]
		if !p && !t {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "field q names %q, which the message does not send", clip(name)).WithFix("give a quality only to values of the same message")
		}
		if int(q) >= len(qualityNames) {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "field q of %s is not a quality", name).WithFix("want good, questionable or invalid")
		}
	}
	return nil
}
