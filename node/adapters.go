package node

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/twin"
)

// Source gives the broker the commands of control: a [device.Source].
type Source struct{ Control *control.Service }

// Pending implements [device.Source]; so do the next two methods.
func (x Source) Pending(d vaultmesh.DeviceID) ([]device.Outbound, error) {
	waiting, err := x.Control.Pending(d)
	out := make([]device.Outbound, len(waiting))
	for i, o := range waiting {
		out[i] = device.Outbound(o)
	}
	return out, err
}

func (x Source) Delivered(ctx context.Context, id vaultmesh.CommandID, at time.Time) error {
	return x.Control.Delivered(ctx, id, at)
}

func (x Source) Respond(ctx context.Context, r device.Response) error {
	return x.Control.Respond(ctx, control.Response(r))
}

// Dispatcher gives control the broker: a [control.Dispatcher].
type Dispatcher struct{ Broker *device.Broker }

// Dispatch implements [control.Dispatcher].
func (d Dispatcher) Dispatch(o control.Outbound) { d.Broker.Dispatch(device.Outbound(o)) }

func (d Dispatcher) Withdraw(o control.Outbound) bool { return d.Broker.Withdraw(device.Outbound(o)) }

// fleet admits the devices that twins name and nobody revoked.
type fleet struct {
	known   map[vaultmesh.DeviceID]bool
	revoked map[vaultmesh.DeviceID]bool
}

func newFleet(twins *twin.Store, revoked []string) fleet {
	f := fleet{known: map[vaultmesh.DeviceID]bool{}, revoked: map[vaultmesh.DeviceID]bool{}}
	twins.Snapshot().Each(func(t twin.Twin) bool {
		if t.Device != "" {
			f.known[t.Device] = true
		}
		return true
	})
	for _, d := range revoked {
		f.revoked[vaultmesh.DeviceID(d)] = true
	}
	return f
}

func (f fleet) Admit(d vaultmesh.DeviceID) error {
	if f.revoked[d] {
		return vaultmesh.Errorf(vaultmesh.Denied, "device.admit", string(d), "the device is revoked")
	}
	if !f.known[d] {
		return vaultmesh.Errorf(vaultmesh.Denied, "device.admit", string(d), "no twin names this device").WithFix("define its twins first")
	}
	return nil
}

// TokenDigest implements [device.Devices]: devices authenticate by certificate alone.
func (f fleet) TokenDigest(vaultmesh.DeviceID) (vaultmesh.Digest, bool) {
	return vaultmesh.Digest{}, false
}

// checkArgs validates the arguments of a command by the model.
func checkArgs(models *dtdl.Set) func(model, command string, args json.RawMessage) error {
	return func(model, command string, args json.RawMessage) error {
		i, ok := models.Interface(model)
		if !ok {
			return vaultmesh.Errorf(vaultmesh.Internal, "command", model, "the model is not loaded")
		}
		c, ok := i.Command(command)
		if !ok {
			var names []string
			for _, content := range i.Contents() {
				if _, is := content.(*dtdl.Command); is {
					names = append(names, content.Name())
				}
			}
			e := vaultmesh.Errorf(vaultmesh.Invalid, "command", command, "the model %s has no such command", model)
			if len(names) > 0 {
				return e.WithFix("its commands are %s", strings.Join(names, ", "))
			}
			return e
		}
		if c.Request() == nil {
			if string(args) != "{}" {
				return vaultmesh.Errorf(vaultmesh.Invalid, "command", command, "it takes no arguments").WithFix("send {}")
			}
			return nil
		}
		if err := c.Request().Validate(args); err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "command", command, "its arguments do not fit the model").Because(err)
		}
		return nil
	}
}

// ancestors returns the models that a model extends, directly or not.
func ancestors(models *dtdl.Set) func(model string) []string {
	return func(model string) []string {
		i, ok := models.Interface(model)
		if !ok {
			return nil
		}
		var out []string
		seen := map[string]bool{}
		var walk func(*dtdl.Interface)
		walk = func(x *dtdl.Interface) {
			for _, e := range x.Extends() {
				if !seen[e.ID()] {
					seen[e.ID()] = true
					out = append(out, e.ID())
					walk(e)
				}
			}
		}
		walk(i)
		return out
	}
}
