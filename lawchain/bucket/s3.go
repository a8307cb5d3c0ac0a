package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob/s3blob"

	"vaultmesh.org/vaultmesh"
)

// s3Bucket adds to [cloud] what S3 alone has: object lock and versions.
type s3Bucket struct {
	cloud
	client *s3.Client
	name   string
}

func openS3(ctx context.Context, u *url.URL) (Bucket, error) {
	prefix, bare := prefixOf(u)
	b, err := new(s3blob.URLOpener).OpenBucketURL(ctx, bare)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bucket.open", place(u), "not the address of an S3 bucket").Because(notOpened(u, bare, err)).
			WithFix("write s3://bucket?region=eu-central-1; for another service add endpoint=https://…&use_path_style=true; credentials come from the environment or the shared AWS files")
	}
	s := &s3Bucket{cloud: cloud{b: b, prefix: prefix, where: place(u), lock: lockS3}, name: u.Host}
	if !b.As(&s.client) {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bucket.open", place(u), "the driver does not give its client")
	}
	return s, nil
}

func lockS3(as func(any) bool, r Retention) error {
	var in *transfermanager.UploadObjectInput
	if !as(&in) {
		return vaultmesh.Errorf(vaultmesh.Internal, "bucket.create", "", "the driver does not give its request")
	}
	in.ObjectLockMode = tmtypes.ObjectLockModeCompliance
	if r.Governed {
		in.ObjectLockMode = tmtypes.ObjectLockModeGovernance
	}
	until := r.Until.UTC()
	in.ObjectLockRetainUntilDate = &until
	return nil
}

// Locks implements [Locker].
func (s *s3Bucket) Locks(ctx context.Context) (bool, error) {
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.name})
	if err == nil {
		return out.ObjectLockConfiguration != nil && out.ObjectLockConfiguration.ObjectLockEnabled == "Enabled", nil
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed":
			return false, nil
		}
	}
	if code := statusOf(err); code == http.StatusNotImplemented || code == http.StatusMethodNotAllowed {
		return false, nil
	}
	return false, s.failed("bucket.lock", "", err)
}

// maxVersions bounds the versions of one object that are looked at.
const maxVersions = 1000

// Versions implements [Versioned].
func (s *s3Bucket) Versions(ctx context.Context, name string, limit int64, fn func([]byte) (bool, error)) error {
	const op = "bucket.versions"
	if err := check(op, name); err != nil {
		return err
	}
	key := s.prefix + name
	out, err := s.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &s.name, Prefix: &key})
	if err != nil {
		return s.failed(op, name, err)
	}
	var ids []*string // newest first, as the service lists them
	for _, v := range out.Versions {
		if v.Key != nil && *v.Key == key && len(ids) < maxVersions {
			ids = append(ids, v.VersionId)
		}
	}
	for _, id := range slices.Backward(ids) {
		b, err := s.version(ctx, key, id, limit)
		if err != nil {
			return s.failed(op, name, err)
		}
		more, err := fn(b)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (s *s3Bucket) version(ctx context.Context, key string, id *string, limit int64) ([]byte, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.name, Key: &key, VersionId: id})
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(out.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = tooLarge(s.where+"/"+key, limit)
	}
	return b, err
}
