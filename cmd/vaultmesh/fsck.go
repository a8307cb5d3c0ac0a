package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/cmd/internal/audit"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

type fsckCmd struct {
	Place   string        `arg:"" help:"Data folder of a stopped node; or a published log or an archive: a folder, s3://…, gs://…, https://host/log/."`
	Trust   string        `help:"Trust file: the keys that you pin. Default for a data folder: its own trust.json, which vouches for itself." type:"path"`
	Key     string        `help:"Verifier key of the log, instead of a trust file: the signatures of receipts are then not judged."`
	Expect  []string      `help:"Checkpoint that you have seen before: the log must extend it (repeat)." type:"path"`
	Tiles   string        `help:"Where the log of a data folder is published. Default: its folder log."`
	Drift   time.Duration `help:"How far a receipt's time may lie before an earlier one's, or in the future." default:"1m"`
	Timeout time.Duration `help:"End with what is known after this time." default:"1h"`
	Workers int           `help:"Readers at a time; 0 is the number of processors." default:"0"`
	CA      string        `help:"PEM file with the roots for https, instead of the system's." name:"ca" type:"path"`
	JSON    bool          `help:"Print one JSON object."`
}

// Run checks a log: status 0 sound, 1 damaged, 2 unusable.
func (c *fsckCmd) Run(a *app) error {
	ctx, cancel := context.WithTimeout(a.ctx, c.Timeout)
	defer cancel()
	reports, err := c.check(ctx, a)
	code := 0
	if err != nil {
		code = exitUnusable
	}
	verdict := fsck.Sound
	for _, r := range reports { // damage anywhere is damage, whatever else could not be read
		if r.Verdict != fsck.Sound && verdict != fsck.Damaged {
			verdict, code = r.Verdict, r.Status()
		}
	}
	if err != nil && verdict == fsck.Sound {
		verdict = fsck.Unusable
	}
	if c.JSON {
		out := struct {
			Verdict fsck.Verdict   `json:"verdict"`
			Reports []*fsck.Report `json:"reports"`
			Error   string         `json:"error,omitempty"`
		}{verdict, append([]*fsck.Report{}, reports...), ""}
		if err != nil {
			out.Error = err.Error()
		}
		if err := json.NewEncoder(a.out).Encode(out); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			if err := tell(a.out, r); err != nil {
				return err
			}
		}
	}
	if err != nil {
		audit.Tell(a.errOut, "vaultmesh", err)
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

func (c *fsckCmd) check(ctx context.Context, a *app) ([]*fsck.Report, error) {
	data, err := isData(c.Place)
	if err != nil {
		return nil, err
	}
	trust := c.Trust
	if data && trust == "" && c.Key == "" {
		trust = filepath.Join(c.Place, "trust.json")
		fmt.Fprintf(a.errOut, "vaultmesh: the keys are those of %s itself: a folder that was rewritten as a whole would pass. Pin keys with --trust.\n", c.Place)
	}
	o := fsck.Options{Drift: c.Drift, Workers: c.Workers, Progress: c.progress(a)}
	if o.Pins, err = pins(trust, c.Key); err != nil {
		return nil, err
	}
	for _, path := range c.Expect {
		note, err := readSmall(path, tiles.MaxCheckpoint)
		if err != nil {
			return nil, err
		}
		h, _, err := fsck.ReadHead(note, path)
		if err != nil {
			return nil, err
		}
		o.Heads = append(o.Heads, h)
	}
	if data {
		return c.data(ctx, o)
	}
	b, err := c.open(ctx, c.Place)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	kind, err := fsck.Kind(ctx, b)
	if err != nil {
		return nil, err
	}
	run := fsck.Published
	if kind == "archive" {
		run = fsck.Archive
	}
	r, err := run(ctx, b, o)
	if err != nil {
		return nil, err
	}
	return []*fsck.Report{r}, nil
}

// data checks the journal of a data folder, then what was published of it, each against the other.
func (c *fsckCmd) data(ctx context.Context, o fsck.Options) (reports []*fsck.Report, err error) {
	j, err := journal.OpenReadOnly(filepath.Join(c.Place, "journal"))
	if vaultmesh.KindOf(err) == vaultmesh.Conflict && err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, "fsck", c.Place, "a node runs on this data folder").
			WithFix("stop it; or check what it publishes while it runs: vaultmesh fsck https://<node>/log/ --trust FILE, with --ca where the node has a certificate of your own CA")
	}
	if vaultmesh.KindOf(err) == vaultmesh.Corrupt && err != nil {
		reports = append(reports, fsck.Unreadable(c.Place, err))
	} else if err != nil {
		return nil, err
	}
	place := c.Tiles
	if place == "" {
		place = filepath.Join(c.Place, "log")
	}
	b, err := c.open(ctx, place)
	if err != nil {
		return reports, errors.Join(err, closed(j))
	}
	defer func() { _ = b.Close() }()
	note, nerr := b.Get(ctx, tiles.Checkpoint, tiles.MaxCheckpoint)
	if j != nil {
		defer func() { _ = j.Close() }()
		of := o
		if nerr == nil {
			if h, _, err := fsck.ReadHead(note, "published checkpoint in "+b.String()); err == nil {
				of.Heads = append(of.Heads, h)
			}
		}
		r, err := fsck.Journal(ctx, j, c.Place, of)
		if err != nil {
			return reports, err
		}
		reports = append(reports, r)
	}
	kind, err := fsck.Kind(ctx, b)
	if err == nil && kind == "" && c.Tiles == "" {
		return reports, nil // nothing is published there
	}
	r, err := fsck.Published(ctx, b, o)
	if err != nil {
		return reports, err
	}
	return append(reports, r), nil
}

func closed(j *journal.ReadOnly) error {
	if j == nil {
		return nil
	}
	return j.Close()
}

// isData tells a node's data folder from other places.
func isData(place string) (bool, error) {
	if strings.Contains(place, "://") {
		return false, nil
	}
	st, err := os.Stat(place)
	if err != nil || !st.IsDir() {
		return false, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", place, "there is no such folder").Because(err).WithFix("name a data folder, a folder with a published log, or a URL")
	}
	_, err = os.Stat(filepath.Join(place, "journal"))
	return err == nil, nil
}

func (c *fsckCmd) open(ctx context.Context, place string) (bucket.Bucket, error) {
	if c.CA == "" || !strings.HasPrefix(place, "https://") {
		return bucket.Open(ctx, place)
	}
	pem, err := readSmall(c.CA, 1<<20)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", c.CA, "it holds no PEM certificate")
	}
	return bucket.NewHTTP(place, &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}})
}

// pins reads what the user trusts.
func pins(trust, key string) (fsck.Pins, error) {
	switch {
	case key != "" && trust == "":
		return fsck.PinLogKey(key)
	case trust == "":
		return fsck.Pins{}, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", "", "no key is pinned").WithFix("give --trust FILE, or --key with the verifier key of the log")
	}
	text, err := readSmall(trust, receipt.MaxTrust)
	if err != nil {
		return fsck.Pins{}, err
	}
	t, err := receipt.LoadTrust(text)
	if err != nil {
		return fsck.Pins{}, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", trust, "the trust file cannot be used").Because(err)
	}
	return fsck.PinTrust(t)
}

// readSmall reads a regular file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() > limit {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", path, "want a regular file of at most %d bytes", limit).Because(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", path, "cannot read").Because(err)
	}
	return b, nil
}

// progressEvery is the time between two lines of progress.
const progressEvery = 5 * time.Second

func (c *fsckCmd) progress(a *app) func(done, total uint64) {
	last := time.Now()
	return func(done, total uint64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			fmt.Fprintf(a.errOut, "vaultmesh: %d of %d receipts read (%d %%)\n", done, total, 100*done/max(total, 1))
		}
	}
}

// tell prints a report for a person.
func tell(w io.Writer, r *fsck.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s\n", strings.ToUpper(string(r.Verdict)), r.Kind, r.Place)
	if r.Origin != "" {
		fmt.Fprintf(&b, "  log %s, %d receipts, root %s\n  read %d receipts of %d subjects, %d with a good signature of their own, in %.1f s\n", r.Origin, r.Size, r.Root, r.Receipts, r.Subjects, r.Signed, r.Seconds)
	}
	for _, c := range r.Checks {
		mark := "ok"
		switch {
		case c.Problems == 1:
			mark = "1 problem"
		case c.Problems > 0:
			mark = fmt.Sprintf("%d problems", c.Problems)
		case !c.Judged:
			mark = "not judged"
		case !c.OK:
			mark = "not finished"
		}
		fmt.Fprintf(&b, "  %-11s %s\n", c.Name, mark)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "  ! %s\n", p)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "  ! and %d more\n", r.More)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	if r.Reason != "" {
		fmt.Fprintf(&b, "  not finished: %s\n", r.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
