package main

// The parts of the digest that package dtdl needs, under the digest's own names.

type digest struct {
	Contexts           map[string]map[string]string  `json:"contexts"`
	ImplicitVersions   map[string]int                `json:"affiliateContextsImplicitDtdlVersions"`
	LimitContexts      map[string]limitContext       `json:"limitContexts"`
	ReservedIDPrefixes map[string][]string           `json:"reservedIdPrefixes"`
	MaterialClasses    map[string]materialClass      `json:"materialClasses"`
	SupplementalTypes  map[string]supplementalType   `json:"supplementalTypes"`
	DescendantControls []descendantControl           `json:"descendantControls"`
	Elements           []map[string]any              `json:"elements"`
	Identifiers        map[string]map[string]idLimit `json:"-"`
	IdentifierDef      map[string]any                `json:"identifierDefinition"`
	Partitions         map[string]struct {
		MaxBytes map[string]int `json:"maxBytes"`
	} `json:"partitions"`
}

type idLimit struct {
	MaxLength map[string]int `json:"maxLength"`
}

type limitContext struct {
	DtdlVersion int    `json:"dtdlVersion"`
	Spec        string `json:"spec"`
}

type materialClass struct {
	Abstract            bool                                 `json:"abstract"`
	Overt               bool                                 `json:"overt"`
	Partition           bool                                 `json:"partition"`
	Rootable            bool                                 `json:"rootable"`
	DtdlVersions        []int                                `json:"dtdlVersions"`
	TypeIDs             []string                             `json:"typeIds"`
	ConcreteSubclasses  map[string][]string                  `json:"concreteSubclasses"`
	ElementalSubclasses map[string][]string                  `json:"elementalSubclasses"`
	ExtensibleSub       map[string][]string                  `json:"extensibleMaterialSubclasses"`
	Properties          map[string]map[string]map[string]any `json:"properties"`
}

type supplementalType struct {
	Abstract         bool                            `json:"abstract"`
	Cotypes          []string                        `json:"cotypes"`
	CotypeVersions   []int                           `json:"cotypeVersions"`
	ExtensionContext string                          `json:"extensionContext"`
	ExtensionKind    string                          `json:"extensionKind"`
	Parent           string                          `json:"parent"`
	Cocotypes        []string                        `json:"cocotypes"`
	Discotypes       []string                        `json:"discotypes"`
	Altcotypes       []string                        `json:"altcotypes"`
	Properties       map[string]supplementalProperty `json:"properties"`
	Constraints      []constraint                    `json:"constraints"`
	Siblings         []sibling                       `json:"siblings"`
}

type supplementalProperty struct {
	PropertyName     string `json:"propertyName"`
	Type             string `json:"type"`
	ChildOf          string `json:"childOf"`
	InstanceProperty string `json:"instanceProperty"`
	Pattern          string `json:"pattern"`
	Optional         bool   `json:"optional"`
	Plural           bool   `json:"plural"`
	UniqueValue      bool   `json:"uniqueValue"`
	MaxCount         int    `json:"maxCount"`
	MinCount         int    `json:"minCount"`
	MaxLength        int    `json:"maxLength"`
	MinInclusive     *int   `json:"minInclusive"`
	MaxInclusive     *int   `json:"maxInclusive"`
}

type constraint struct {
	Property             string   `json:"property"`
	RequiredTypes        []string `json:"requiredTypes"`
	RequiredTypesString  string   `json:"requiredTypesString"`
	RequiredValues       []string `json:"requiredValues"`
	RequiredValuesString string   `json:"requiredValuesString"`
	Inverse              bool     `json:"inverse"`
	NoneOtherType        string   `json:"noneOtherType"`
	SomeOtherType        string   `json:"someOtherType"`
	SiblingKey           string   `json:"siblingKey"`
	SiblingKeyref        string   `json:"siblingKeyref"`
	SiblingParentOf      string   `json:"siblingParentOf"`
}

type sibling struct {
	Key                  string   `json:"key"`
	Keyref               string   `json:"keyref"`
	DisallowedType       string   `json:"disallowedType"`
	RequiredTypes        []string `json:"requiredTypes"`
	RequiredTypesString  string   `json:"requiredTypesString"`
	SupplementalProperty string   `json:"supplementalProperty"`
	UniqueReference      string   `json:"uniqueReference"`
}

type descendantControl struct {
	RootClass        string         `json:"rootClass"`
	DtdlVersion      int            `json:"dtdlVersion"`
	Properties       []string       `json:"properties"`
	Narrow           bool           `json:"narrow"`
	AllowSelf        bool           `json:"allowSelf"`
	ExcludeType      string         `json:"excludeType"`
	DatatypeProperty string         `json:"datatypeProperty"`
	ImportProperties []string       `json:"importProperties"`
	MaxDepth         map[string]int `json:"maxDepth"`
	MaxCount         map[string]int `json:"maxCount"`
}
