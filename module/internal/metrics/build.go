package metrics

import (
	"cmp"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// modulePath is how this module appears in a program that contains it.
const modulePath = "github.com/caddy-ip-reputation/caddy-ip-reputation"

// The linker sets these in a build without the history of the repository, such as the image:
//
//	go build -ldflags '-X <this package>.stampedVersion=v1.2.3 -X <this package>.stampedRevision=4a18beb'
var stampedVersion, stampedRevision string

var (
	running   = thisBuild()
	buildInfo = newBuildInfo(running)
)

// Version returns the version of the plugin in the running program, or "unknown".
func Version() string { return running.version }

func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	b := buildOf(info)
	b.version, b.revision = cmp.Or(stampedVersion, b.version), cmp.Or(stampedRevision, b.revision)
	return b
}

func newBuildInfo(b build) *prometheus.GaugeVec {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info",
		Help: "Always 1; the labels say which version of the plugin runs and what it was built with.",
	}, []string{"version", "revision", "goversion"})
	vec.WithLabelValues(b.version, b.revision, b.goVersion).Set(1)
	return vec
}

type build struct{ version, revision, goVersion string }

// buildOf finds the plugin in a program's build information: as the program itself, or as one of its dependencies when
// it was built with xcaddy. The revision is known in the first case only. What is not known is "unknown".
func buildOf(info *debug.BuildInfo) build {
	if info == nil {
		info = &debug.BuildInfo{}
	}
	var b build
	if info.Main.Path == modulePath {
		b.version = info.Main.Version
		modified := ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.revision = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					modified = "-modified"
				}
			}
		}
		if b.revision != "" {
			b.revision += modified
		}
	}
	for _, dep := range info.Deps {
		if dep.Path == modulePath {
			b.version = dep.Version
		}
	}
	const unknown = "unknown"
	return build{cmp.Or(b.version, unknown), cmp.Or(b.revision, unknown), cmp.Or(info.GoVersion, unknown)}
}
