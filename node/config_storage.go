package node

import (
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/archive"
)

// LogConfig is the publication of the log.
type LogConfig struct {
	Tiles    string        `yaml:"tiles"`    // folder, file:///, s3:// or gs:// of the published log; default <data>/log
	Interval time.Duration `yaml:"interval"` // shortest time between two publications
	Grace    time.Duration `yaml:"grace"`    // superseded partial tiles stay this long for readers of an earlier checkpoint
	Timeout  time.Duration `yaml:"timeout"`  // of one request to the place of the tiles
	Parallel int           `yaml:"parallel"` // uploads at a time; each may hold 16 MiB
}

// ArchiveConfig is the long keeping of the log.
type ArchiveConfig struct {
	URL       string        `yaml:"url"`       // s3://, gs:// or a folder; empty: no archive
	Interval  time.Duration `yaml:"interval"`  // between two segments while the log grows
	Retention time.Duration `yaml:"retention"` // nobody can delete an object before, where the bucket has object lock
	Lock      string        `yaml:"lock"`      // "auto": where the bucket has object lock; "required"; "off"
	Mode      string        `yaml:"mode"`      // "compliance", or "governance": a special right may delete
	Timeout   time.Duration `yaml:"timeout"`   // of one request
}

var (
	defaultLog     = LogConfig{Interval: time.Second, Grace: 10 * time.Minute, Timeout: 30 * time.Second, Parallel: 4}
	defaultArchive = ArchiveConfig{Interval: time.Hour, Retention: 10 * 365 * 24 * time.Hour, Lock: string(archive.LockAuto), Mode: "compliance", Timeout: time.Minute}
)

func badKey(key, format string, args ...any) *vaultmesh.Error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "config", key, format, args...)
}

func (c LogConfig) check() error {
	for key, d := range map[string]time.Duration{"log.interval": c.Interval, "log.grace": c.Grace, "log.timeout": c.Timeout} {
		if d <= 0 {
			return badKey(key, "%s", d).WithFix("want a positive duration such as 30s")
		}
	}
	if c.Parallel < 1 || c.Parallel > 64 {
		return badKey("log.parallel", "%d", c.Parallel).WithFix("want 1 to 64")
	}
	return checkPlace("log.tiles", c.Tiles)
}

func (c ArchiveConfig) check() error {
	for key, d := range map[string]time.Duration{"archive.interval": c.Interval, "archive.retention": c.Retention, "archive.timeout": c.Timeout} {
		if d <= 0 {
			return badKey(key, "%s", d).WithFix("want a positive duration such as 87600h")
		}
	}
	switch archive.Lock(c.Lock) {
	case archive.LockAuto, archive.LockRequired, archive.LockOff:
	default:
		return badKey("archive.lock", "%q", c.Lock).WithFix("use auto, required or off")
	}
	if c.Mode != "compliance" && c.Mode != "governance" {
		return badKey("archive.mode", "%q", c.Mode).WithFix("use compliance or governance")
	}
	return checkPlace("archive.url", c.URL)
}

// checkPlace refuses an address that could never be written to, before anything is opened.
func checkPlace(key, address string) error {
	scheme, _, isURL := strings.Cut(address, "://")
	if !isURL {
		return nil
	}
	switch scheme {
	case "file", "s3", "gs":
		return nil
	}
	return badKey(key, "%.40q is no kind of place to write to", scheme).WithFix("use a folder, file:///path, s3://bucket or gs://bucket")
}
