package device

import (
	"encoding/json"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh"
)

// Refusal tells the operator why a message of a device was refused. It holds no payload.
type Refusal struct {
	Time   time.Time `json:"time"`
	Topic  string    `json:"topic"`  // at most 96 bytes
	Reason string    `json:"reason"` // at most 256 bytes
	Code   byte      `json:"code"`   // MQTT 5 reason code
}

// maxRefusals bounds the refusals that are kept of one device, newest first to be read.
const maxRefusals = 32

const (
	maxTopicText  = 96
	maxReasonText = 256
)

// verdict is why a message is refused: what is counted, and what the device is told.
type verdict struct {
	cause  cause
	code   byte
	reason string
}

// judge maps an error about a payload, a twin or a command to a verdict.
func judge(err error) verdict {
	v := verdict{causePayload, packets.ErrPayloadFormatInvalid.Code, clip(err.Error(), maxReasonText)}
	switch vaultmesh.KindOf(err) {
	case vaultmesh.Denied:
		v.cause, v.code = causeDenied, packets.ErrNotAuthorized.Code
	case vaultmesh.NotFound:
		v.cause, v.code = causeUnknown, packets.ErrTopicNameInvalid.Code
	case vaultmesh.RateLimited:
		v.cause, v.code = causeOverload, packets.ErrQuotaExceeded.Code
	case vaultmesh.Unavailable:
		v.cause, v.code = causeUnavailable, packets.ErrQuotaExceeded.Code
	case vaultmesh.Internal, vaultmesh.Corrupt:
		// The text may speak of the node's inside, which is not the device's business.
		v = verdict{causeInternal, packets.ErrImplementationSpecificError.Code, "a fault of the node; tell its operator"}
	}
	return v
}

// judgeTopic maps an error of publishTopic.
func judgeTopic(err error) verdict {
	v := judge(err)
	if v.cause == causePayload {
		v.cause, v.code = causeTopic, packets.ErrTopicNameInvalid.Code
	}
	return v
}

// final reports whether the same message would be refused for ever.
func (v verdict) final() bool {
	return v.cause != causeOverload && v.cause != causeUnavailable && v.cause != causeInternal
}

// errPayload is the text of an err message.
func errPayload(topic string, v verdict) []byte {
	b, err := json.Marshal(struct {
		Topic  string `json:"topic"`
		Reason string `json:"reason"`
		Code   byte   `json:"code"`
	}{clip(topic, maxTopicText), v.reason, v.code})
	if err != nil { // three plain fields
		return nil
	}
	return b
}
