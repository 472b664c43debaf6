package provider

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// Installation is a mesh whose chart values are known.
type Installation struct {
	Values    Values
	Namespace string
	Upgrade   string // the command that changes its values, without settings
}

// Kinds are the kinds that the control plane is prepared for. The first one signs by default.
func (i Installation) Kinds() []string {
	kinds := []string{i.Values.String("osm.certificateProvider.kind")}
	for _, kind := range i.Values.Strings("osm.certificateProvider.additionalKinds") {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Fix is the command that prepares the control plane for a provider.
func (i Installation) Fix(spec v1alpha2.ProviderSpec) string {
	kinds, kind := i.Kinds(), cmp.Or(spec.Kind(), api.ProviderTresor)
	command := i.Upgrade
	if kind != kinds[0] {
		if kinds = kinds[1:]; !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		command += fmt.Sprintf(" --set osm.certificateProvider.additionalKinds={%s}", strings.Join(kinds, ","))
	}
	if settings := Of(spec).Settings(spec); settings != "" {
		command += " --set " + settings
	}
	return command
}
