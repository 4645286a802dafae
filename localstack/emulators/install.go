//go:build linux || darwin

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// DynamoDB Local 3 is compiled for Java 17.
const javaVersion = 17

// copyDependencies is the goal in full: by its prefix alone Maven would look for its newest version first.
const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

// noPerfData keeps a JVM from leaving files in the system's temporary folder.
const noPerfData = "-XX:-UsePerfData"

// missingError says what this machine lacks to run the emulators.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

// install makes sure that both emulators are in home, and returns the java that runs them. What is there
// already is kept as long as pom.xml is the same.
func install(ctx context.Context, home, pom string) (java string, err error) {
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	unlock, err := lock(filepath.Join(home, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()

	wanted, err := os.ReadFile(pom)
	if err != nil {
		return "", fmt.Errorf("read list of emulators: %w", err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(wanted))
	marker := filepath.Join(home, "installed")
	have, _ := os.ReadFile(marker)
	complete := string(have) == sum

	java, javaErr := findJava(ctx)
	mvn, mvnErr := exec.LookPath("mvn")
	if javaErr != nil || (mvnErr != nil && !complete) {
		if err := aptInstall(ctx, javaErr, mvnErr); err != nil {
			return "", err
		}
		if java, err = findJava(ctx); err != nil {
			return "", err
		}
		if mvn, err = exec.LookPath("mvn"); err != nil && !complete {
			return "", &missingError{"Maven (mvn) was not found"}
		}
	}
	if complete {
		return java, nil
	}
	fmt.Fprintln(os.Stderr, "emulators: fetching DynamoDB Local and ElasticMQ by Maven (about 90 MB, once)")
	for _, profile := range []string{"dynamodb", "elasticmq"} {
		target := filepath.Join(home, profile)
		if err := os.RemoveAll(target); err != nil {
			return "", fmt.Errorf("empty folder: %w", err)
		}
		cmd := exec.CommandContext(ctx, mvn, "-B", "-q", "--no-transfer-progress", "-Dstyle.color=never", "-f", pom, "-P", profile,
			copyDependencies, "-DincludeScope=runtime", "-DoutputDirectory="+target)
		cmd.Env = append(os.Environ(), strings.TrimSpace("MAVEN_OPTS="+os.Getenv("MAVEN_OPTS")+" "+noPerfData))
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("fetch %s by Maven (see above): %w", profile, err)
		}
	}
	if err := os.WriteFile(marker, []byte(sum), 0o644); err != nil {
		return "", fmt.Errorf("mark emulators as installed: %w", err)
	}
	return java, nil
}

var versionLine = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// findJava prefers JAVA_HOME to the PATH, as Maven does.
func findJava(ctx context.Context) (string, error) {
	name := "java"
	if dir := os.Getenv("JAVA_HOME"); dir != "" {
		name = filepath.Join(dir, "bin", "java")
	}
	java, err := exec.LookPath(name)
	if err != nil {
		return "", &missingError{fmt.Sprintf("Java %d or newer was not found (%s)", javaVersion, name)}
	}
	out, err := exec.CommandContext(ctx, java, noPerfData, "-version").CombinedOutput()
	found := versionLine.FindSubmatch(out)
	if err != nil || found == nil {
		return "", &missingError{fmt.Sprintf("%s -version does not tell a version: Java %d or newer is needed", java, javaVersion)}
	}
	if n, _ := strconv.Atoi(string(found[1])); n < javaVersion {
		return "", &missingError{fmt.Sprintf("%s is Java %d: %d or newer is needed", java, n, javaVersion)}
	}
	return java, nil
}

// aptInstall brings what is missing onto Debian and Ubuntu, for root only: elsewhere it only says what to install.
func aptInstall(ctx context.Context, javaErr, mvnErr error) error {
	var missing []string
	for _, err := range []error{javaErr, mvnErr} {
		var m *missingError
		if errors.As(err, &m) {
			missing = append(missing, m.what)
		} else if err != nil {
			missing = append(missing, "Maven (mvn) was not found")
		}
	}
	what := strings.Join(missing, "; ")
	apt, err := exec.LookPath("apt-get")
	if err != nil || runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return &missingError{fmt.Sprintf("%s: install Java %d or newer and Maven, or run this as root on Debian or Ubuntu", what, javaVersion)}
	}
	fmt.Fprintf(os.Stderr, "emulators: %s: installing by apt-get\n", what)
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return cmd.Run()
	}
	if err := run(apt, "-qq", "update"); err != nil {
		return &missingError{fmt.Sprintf("%s, and apt-get update failed: %v", what, err)}
	}
	packages := []string{"-qq", "-y", "--no-install-recommends", "install"}
	if mvnErr != nil {
		packages = append(packages, "maven")
	}
	if javaErr != nil {
		// Debian 13 has no 17 any more, Ubuntu 22.04's default is 11: the first of these that there is.
		jre := "openjdk-17-jre-headless"
		if exec.CommandContext(ctx, "apt-cache", "show", jre).Run() != nil {
			jre = "openjdk-21-jre-headless"
		}
		packages = append(packages, jre)
	}
	if err := run(apt, packages...); err != nil {
		return &missingError{fmt.Sprintf("%s, and apt-get install failed: %v", what, err)}
	}
	return nil
}

// lock waits until no other process holds the lock. The kernel lets go of it when the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
