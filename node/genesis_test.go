package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
)

// A data folder goes on as the domain that its first receipt names, with the keys that it names, or not at all.
func TestStartsAsTheSameDomainOnly(t *testing.T) {
	cfg := Defaults("dev")
	cfg.Domain, cfg.Data, cfg.HTTP.Listen, cfg.MQTT.Listen, cfg.Grid.Case = "plant", t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", ""
	start := func(cfg Config) error {
		n, err := Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		return n.Close()
	}
	for range 2 {
		if err := start(cfg); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(cfg Config, says string) {
		t.Helper()
		if err := start(cfg); vaultmesh.KindOf(err) != vaultmesh.Conflict || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want a conflict that says %q", err, says)
		}
	}
	other := cfg
	other.Domain = "elsewhere"
	refused(other, "plant")
	for _, file := range []string{"receipt.key", "capability.key"} {
		path := filepath.Join(cfg.Data, "keys", file)
		own, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := seedFile(path); err != nil { // a key that is as good as any, and not the domain's
			t.Fatal(err)
		}
		refused(cfg, file)
		if err := WriteSecret(path, own); err != nil {
			t.Fatal(err)
		}
	}
	if err := start(cfg); err != nil {
		t.Fatalf("with its own keys again: %v", err)
	}
}
