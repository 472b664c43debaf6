package injector

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/redirect"
)

// redirection merges the mesh's exclusions with the pod's. Lists are sorted and without
// duplicates, so that equal settings give equal pods.
func redirection(annotations map[string]string, traffic v1alpha2.TrafficSpec) (redirect.Rules, error) {
	rules := redirect.Default()
	var err error
	merge := func(into *[]uint16, mesh []int32, key string) {
		if err == nil {
			*into, err = mergePorts(mesh, annotations, key)
		}
	}
	mergeCIDRs := func(into *[]netip.Prefix, mesh []string, field, key string) {
		if err == nil {
			*into, err = mergeRanges(mesh, field, annotations, key)
		}
	}
	merge(&rules.ExcludeInboundPorts, traffic.InboundPortExclusionList, api.AnnotationInboundPortExclusion)
	merge(&rules.ExcludeOutboundPorts, traffic.OutboundPortExclusionList, api.AnnotationOutboundPortExclusion)
	mergeCIDRs(&rules.ExcludeOutboundRanges, traffic.OutboundIPRangeExclusionList, "outboundIPRangeExclusionList", api.AnnotationOutboundIPRangeExclusion)
	mergeCIDRs(&rules.IncludeOutboundRanges, traffic.OutboundIPRangeInclusionList, "outboundIPRangeInclusionList", api.AnnotationOutboundIPRangeInclusion)
	if err != nil {
		return redirect.Rules{}, err
	}
	rules.ExcludeInterfaces = unique(slices.Clone(traffic.NetworkInterfaceExclusionList), strings.Compare)
	if err := rules.Validate(); err != nil {
		return redirect.Rules{}, fmt.Errorf("redirection of the pod's traffic: %w", err)
	}
	return rules, nil
}

func mergePorts(mesh []int32, annotations map[string]string, key string) ([]uint16, error) {
	var ports []uint16
	for _, port := range mesh {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("MeshConfig %s: port exclusion list contains %d: want 1 to 65535", api.MeshConfigName, port)
		}
		ports = append(ports, uint16(port))
	}
	for _, text := range items(annotations[key]) {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("annotation %s of the pod contains %q: want comma-separated ports, 1 to 65535", key, text)
		}
		ports = append(ports, uint16(port))
	}
	return unique(ports, cmp.Compare[uint16]), nil
}

func mergeRanges(mesh []string, field string, annotations map[string]string, key string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, text := range mesh {
		prefix, err := parseRange(text)
		if err != nil {
			return nil, fmt.Errorf("MeshConfig %s: spec.traffic.%s contains %q: %w", api.MeshConfigName, field, text, err)
		}
		ranges = append(ranges, prefix)
	}
	for _, text := range items(annotations[key]) {
		prefix, err := parseRange(text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s of the pod contains %q: %w", key, text, err)
		}
		ranges = append(ranges, prefix)
	}
	return unique(ranges, comparePrefix), nil
}

func parseRange(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("want comma-separated CIDRs such as 10.0.0.0/8 or 192.0.2.7/32")
	}
	return prefix.Masked(), nil
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

// items splits a comma-separated annotation; empty items, as a trailing comma leaves, do not count.
func items(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

func unique[T comparable](values []T, compare func(a, b T) int) []T {
	slices.SortFunc(values, compare)
	return slices.Compact(values)
}
