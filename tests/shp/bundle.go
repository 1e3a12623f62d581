package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pushBundle makes an image of one layer of a directory, all as old as time itself, and pushes it with the credentials of this machine.
func pushBundle(ctx context.Context, directory, image string) error {
	reference, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	archive, err := packDirectory(directory)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive)), nil
	})
	if err != nil {
		return err
	}
	bundle, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	if bundle, err = mutate.Time(bundle, time.Unix(0, 0)); err != nil {
		return err
	}
	if err := remote.Write(reference, bundle, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push bundle %s: %w", image, err)
	}
	return nil
}

// packDirectory takes all but what the lines of .shpignore name, the directory itself first.
func packDirectory(directory string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(directory, ".shpignore"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ignored := strings.Fields(string(text))
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	err = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		if slices.Contains(ignored, name) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return packFile(writer, path, name)
	})
	// What closing writes belongs to the bytes.
	err = errors.Join(err, writer.Close())
	return archive.Bytes(), err
}
