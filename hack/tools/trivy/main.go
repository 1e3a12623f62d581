// Stands in for trivy in tests: it takes what image-processing calls trivy with and nothing else, reads the image with the library that
// trivy reads images with, and reports what the image's own file /vulnerabilities.json says it has.
//
// That file is a list of objects as trivy reports them, {"VulnerabilityID", "Severity", "FixedVersion", …}, or one object {"fails": TEXT},
// for which trivy fails with that text. An image without the file has no vulnerability.
package main

import (
	"archive/tar"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

type call struct {
	input, reference        string
	insecure, ignoreUnfixed bool
	severities              []string
}

type vulnerability struct {
	VulnerabilityID  string
	PkgName          string `json:",omitempty"`
	InstalledVersion string `json:",omitempty"`
	FixedVersion     string `json:",omitempty"`
	Severity         string
}

type result struct {
	Target          string
	Class           string
	Vulnerabilities []vulnerability `json:",omitempty"`
}

type report struct {
	SchemaVersion int
	ArtifactName  string
	Results       []result
}

func main() {
	if err := scan(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "FATAL\tFatal error\trun error: %v\n", err)
		os.Exit(1)
	}
}

func scan(arguments []string) error {
	wanted, err := parse(arguments)
	if err != nil {
		return err
	}
	if err := surroundings(); err != nil {
		return err
	}
	image, err := open(wanted)
	if err != nil {
		return fmt.Errorf("image scan error: %w", err)
	}
	found, err := vulnerabilities(image)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(found, func(v vulnerability) bool {
		return len(wanted.severities) > 0 && !slices.Contains(wanted.severities, v.Severity) ||
			wanted.ignoreUnfixed && v.FixedVersion == ""
	})
	return json.NewEncoder(os.Stdout).Encode(report{
		SchemaVersion: 2,
		ArtifactName:  wanted.input + wanted.reference,
		Results: []result{
			{Target: "empty", Class: "lang-pkgs"},
			{Target: "test", Class: "os-pkgs", Vulnerabilities: kept},
		},
	})
}

// parse takes the arguments in upstream's order, each at most once.
func parse(arguments []string) (call, error) {
	var wanted call
	begin := []string{"image", "--quiet", "--disable-telemetry", "--skip-version-check", "--format", "json"}
	if len(arguments) <= len(begin) || !slices.Equal(arguments[:len(begin)], begin) {
		return wanted, fmt.Errorf("called as %q, which does not begin with %q", arguments, begin)
	}
	rest := arguments[len(begin):]
	take := func(flag string, words int) []string {
		if len(rest) < words || rest[0] != flag {
			return nil
		}
		taken := rest[1:words]
		rest = rest[words:]
		return append([]string{}, taken...)
	}
	if input := take("--input", 2); input != nil {
		wanted.input = input[0]
	} else {
		wanted.reference = rest[0]
		rest = rest[1:]
		wanted.insecure = take("--insecure", 1) != nil
	}
	if severities := take("--severity", 2); severities != nil {
		wanted.severities = strings.Split(severities[0], ",")
	}
	wanted.ignoreUnfixed = take("--ignore-unfixed", 1) != nil
	if len(rest) > 0 || strings.HasPrefix(wanted.reference, "-") {
		return wanted, fmt.Errorf("called as %q, of which %q is not understood", arguments, rest)
	}
	return wanted, nil
}

// surroundings are what trivy needs of its container.
func surroundings() error {
	for _, variable := range []string{"TRIVY_CACHE_DIR", "HOME", "TMPDIR"} {
		directory := os.Getenv(variable)
		if directory == "" {
			return fmt.Errorf("there is no %s", variable)
		}
		// Whoever is there must be able to write there.
		file, err := os.CreateTemp(directory, "trivy-")
		if err != nil {
			return fmt.Errorf("%s: %w", variable, err)
		}
		if err := errors.Join(file.Close(), os.Remove(file.Name())); err != nil {
			return err
		}
	}
	for _, variable := range []string{"TRIVY_USERNAME", "TRIVY_PASSWORD", "TRIVY_REGISTRY_TOKEN"} {
		if os.Getenv(variable) != "" {
			return fmt.Errorf("%s would go to every registry", variable)
		}
	}
	return nil
}

func open(wanted call) (v1.Image, error) {
	if wanted.reference != "" {
		return pull(wanted)
	}
	about, err := os.Stat(wanted.input)
	if err != nil {
		return nil, err
	}
	if !about.IsDir() {
		return tarball.ImageFromPath(wanted.input, nil)
	}
	index, err := layout.ImageIndexFromPath(wanted.input)
	if err != nil {
		return nil, err
	}
	return first(index)
}

// pull logs in as trivy does: by the docker configuration, for the registry that it names.
func pull(wanted call) (v1.Image, error) {
	var options []name.Option
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if wanted.insecure {
		options = append(options, name.Insecure)
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	reference, err := name.ParseReference(wanted.reference, options...)
	if err != nil {
		return nil, err
	}
	return remote.Image(reference, remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(transport))
}

// first goes down to the first image of an index.
func first(index v1.ImageIndex) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, entry := range manifest.Manifests {
		if entry.MediaType.IsImage() {
			return index.Image(entry.Digest)
		}
		if entry.MediaType.IsIndex() {
			below, err := index.ImageIndex(entry.Digest)
			if err != nil {
				return nil, err
			}
			return first(below)
		}
	}
	return nil, errors.New("no image in the index")
}

func vulnerabilities(image v1.Image) ([]vulnerability, error) {
	files := mutate.Extract(image)
	defer files.Close()
	for reader := tar.NewReader(files); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("analyze error: %w", err)
		}
		if filepath.Clean("/"+header.Name) != "/vulnerabilities.json" {
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return nil, err
		}
		var failure struct{ Fails string }
		if err := json.Unmarshal(content, &failure); err == nil {
			return nil, errors.New(failure.Fails)
		}
		var found []vulnerability
		return found, json.Unmarshal(content, &found)
	}
}
