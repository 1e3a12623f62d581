// Command gitserver serves bare repositories to tests: "serve" over http and https, "ssh" as the forced command of an sshd.
//
// Invariant: nothing is ever written, a push is refused in every protocol.
// Invariant: a repository's own git config decides about it: gitserver.private asks for a password over http,
// gitserver.protocolV2=false keeps to the old protocol, the only one in which a server can refuse to hand out any commit by its hash.
//
// Answers follow the large public hosts, because clients tell what went wrong by those texts.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

type server struct {
	repositories string
	user         string
	password     string
	// Where clients that came over ssh fetch large files.
	publicURL string
}

type repository struct {
	directory  string
	private    bool
	protocolV2 bool
}

var repositoryName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR: "+err.Error())
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("usage: gitserver serve|ssh [flags]")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	repositories := flags.String("repositories", "", "directory of the bare repositories, each named NAME.git")
	user := flags.String("user", "", "the one account")
	passwordFile := flags.String("password-file", "", "file with its password, without a line end")
	publicURL := flags.String("public-url", "", "https address without a path")
	http := flags.String("http", "", "address and port for http (serve)")
	https := flags.String("https", "", "address and port for https (serve)")
	certificate := flags.String("certificate", "", "PEM file (serve)")
	key := flags.String("key", "", "PEM file (serve)")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		return err
	}
	s := &server{repositories: *repositories, user: *user, password: string(password), publicURL: *publicURL}
	switch arguments[0] {
	case "serve":
		return s.serve(*http, *https, *certificate, *key)
	case "ssh":
		return s.ssh(os.Getenv("SSH_ORIGINAL_COMMAND"))
	}
	return fmt.Errorf("unknown command %q, use serve or ssh", arguments[0])
}

// open finds a repository by the name in a URL, with or without ".git"; nil when there is none.
func (s *server) open(name string) (*repository, error) {
	name = strings.TrimSuffix(strings.Trim(name, "/"), ".git")
	if !repositoryName.MatchString(name) {
		return nil, nil
	}
	directory := filepath.Join(s.repositories, name+".git")
	if _, err := os.Stat(directory); os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	private, err := setting(directory, "gitserver.private", false)
	if err != nil {
		return nil, err
	}
	protocolV2, err := setting(directory, "gitserver.protocolV2", true)
	if err != nil {
		return nil, err
	}
	return &repository{directory: directory, private: private, protocolV2: protocolV2}, nil
}

func setting(directory, name string, unset bool) (bool, error) {
	fallback := fmt.Sprint(unset)
	output, err := exec.Command("git", "config", "--file", filepath.Join(directory, "config"),
		"--type=bool", "--default", fallback, "--get", name).Output()
	if err != nil {
		return false, fmt.Errorf("cannot read %s of %s: %w", name, directory, err)
	}
	return strings.TrimSpace(string(output)) == "true", nil
}
