package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// ssh runs what the client asked for: reading a repository, or where its large files are.
func (s *server) ssh(command string) error {
	verb, rest, _ := strings.Cut(command, " ")
	if verb == "git" {
		verb, rest, _ = strings.Cut(rest, " ")
		verb = "git-" + verb
	}
	switch verb {
	case "git-upload-pack":
		return s.uploadPack(strings.Trim(rest, "'"))
	case "git-lfs-authenticate":
		name, operation, _ := strings.Cut(rest, " ")
		return s.authenticateLargeFiles(strings.Trim(name, "'"), operation)
	case "git-receive-pack":
		return fmt.Errorf("this server is read-only")
	}
	return fmt.Errorf("%q is not served here, only git repositories are", verb)
}

func (s *server) uploadPack(name string) error {
	repository, err := s.open(name)
	if err != nil {
		return err
	}
	if repository == nil {
		return fmt.Errorf("Repository not found.")
	}
	if !repository.protocolV2 {
		if err := os.Unsetenv("GIT_PROTOCOL"); err != nil {
			return err
		}
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return err
	}
	return syscall.Exec(git, []string{"git", "upload-pack", "--strict", repository.directory}, os.Environ())
}

func (s *server) authenticateLargeFiles(name, operation string) error {
	repository, err := s.open(name)
	if err != nil {
		return err
	}
	if repository == nil {
		return fmt.Errorf("Repository not found.")
	}
	if operation != "download" {
		return fmt.Errorf("this server is read-only")
	}
	name = strings.TrimSuffix(strings.Trim(name, "/"), ".git")
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"href":       s.publicURL + "/" + name + ".git/info/lfs",
		"header":     map[string]string{"Authorization": basicAuthorization(s.user, s.password)},
		"expires_in": 3600,
	})
}
