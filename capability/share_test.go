package capability_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/capability"
)

// One token, attenuated offline to as many keys as its holder likes, must not fill the cache for everybody else.
func TestAttenuationDoesNotMultiplyTheShare(t *testing.T) {
	key := func(name string) ed25519.PublicKey {
		seed := sha256.Sum256([]byte(name))
		return ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	}
	c := capability.NewReplayCache(100, 50, time.Minute)
	now := time.Now()
	for k := range 3 { // three keys that one agent made
		for i := range 50 {
			_ = c.Use(key("agent"), key(fmt.Sprint(k)), fmt.Sprintf("nonce-%010d-%d", i, k), now)
		}
	}
	if err := c.Use(key("operator"), key("operator"), "operator-nonce-01", now); err != nil {
		t.Fatalf("the operator who wants to halt: %v", err)
	}
}
