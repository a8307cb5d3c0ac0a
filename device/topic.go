package device

import (
	"strings"

	"vaultmesh.org/vaultmesh"
)

// What a topic below vm/<device>/ is for.
type purpose uint8

const (
	noPurpose purpose = iota
	forTelemetry
	forResponse
)

// root is the first level of all topics.
const root = "vm/"

// publishTopic judges the topic of a PUBLISH by device. The error is Denied outside the device's own topics and
// Invalid for one that is not in the contract.
func publishTopic(device vaultmesh.DeviceID, topic string) (purpose, vaultmesh.TwinID, error) {
	rest, ok := own(device, topic)
	if !ok {
		return noPurpose, "", vaultmesh.Errorf(vaultmesh.Denied, "device.publish", clip(topic, 96), "the topic is not below vm/%s/", device).WithFix("publish to vm/%s/tel/<twin> or vm/%s/rsp", device, device)
	}
	if id, ok := strings.CutPrefix(rest, "tel/"); ok && vaultmesh.CheckID("twin", id) == nil {
		return forTelemetry, vaultmesh.TwinID(id), nil
	}
	if rest == "rsp" {
		return forResponse, "", nil
	}
	return noPurpose, "", vaultmesh.Errorf(vaultmesh.Invalid, "device.publish", clip(topic, 96), "no such topic").WithFix("publish to vm/%s/tel/<twin> or vm/%s/rsp", device, device)
}

// TelemetryTopic is where a device publishes about a twin.
func TelemetryTopic(device vaultmesh.DeviceID, twin vaultmesh.TwinID) string {
	return root + string(device) + "/tel/" + string(twin)
}

// own returns what follows vm/<device>/ in topic.
func own(device vaultmesh.DeviceID, topic string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(topic, root); !ok {
		return "", false
	}
	if rest, ok = strings.CutPrefix(rest, string(device)); !ok {
		return "", false
	}
	return strings.CutPrefix(rest, "/")
}

// subscribeFilter judges a topic filter: vm/<device>/cmd/ followed by #, + or one twin, or vm/<device>/err. A device
// identifier never holds a wildcard or a slash, so the prefix can be compared as text.
func subscribeFilter(device vaultmesh.DeviceID, filter string, qos byte) error {
	rest, ok := own(device, filter)
	if ok && rest == "err" {
		return nil
	}
	twin, cmd := strings.CutPrefix(rest, "cmd/")
	if !ok || !cmd || twin != "#" && twin != "+" && vaultmesh.CheckID("twin", twin) != nil {
		return vaultmesh.Errorf(vaultmesh.Denied, "device.subscribe", clip(filter, 96), "the filter is outside what this device may read").WithFix("subscribe to vm/%s/cmd/# or vm/%s/err", device, device)
	}
	if qos == 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "device.subscribe", clip(filter, 96), "commands are sent with QoS 1 only").WithFix("subscribe with QoS 1")
	}
	return nil
}

// covers reports whether filter, which subscribeFilter has let through, matches the topic of a command for twin.
func covers(device vaultmesh.DeviceID, filter string, twin vaultmesh.TwinID) bool {
	rest, _ := own(device, filter)
	level, ok := strings.CutPrefix(rest, "cmd/")
	return ok && (level == "#" || level == "+" || level == string(twin))
}
