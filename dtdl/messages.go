package dtdl

import "strings"

// message is what an error says: what is wrong, what the language wants, and what to do. In braces stand the
// fields of the error: {e} element, {o} related element, {p} property, {a} other property, {t} type, {v} value,
// {r} restriction, {f} what was found.
type message struct{ detail, expected, hint string }

// explain fills the texts of an error from its fields.
func (e *Error) explain(word string) {
	m, ok := messages[word]
	if !ok {
		for _, f := range families {
			if strings.HasPrefix(word, f.begin) && strings.HasSuffix(word, f.end) {
				m, ok = f.message, true
				break
			}
		}
	}
	if !ok {
		m.detail = "the rule " + word + " is broken"
	}
	replace := strings.NewReplacer("{e}", e.Element, "{o}", e.Related, "{p}", termOf(e.Property), "{f}", e.found, "{a}", e.AuxProperty, "{t}", e.Type, "{v}", clip(e.Value), "{r}", e.Restriction)
	e.Detail = replace.Replace(m.detail)
	if e.Expected == "" && (e.Restriction != "" || !strings.Contains(m.expected, "{r}")) {
		e.Expected = replace.Replace(m.expected)
	}
	if e.Hint == "" {
		e.Hint = replace.Replace(m.hint)
	}
}

// families are messages for words that differ only in the kind of a literal.
var families = []struct {
	begin, end string
	message
}{
	{"", "CountBelowMin", message{`"{p}" has too few values`, "at least one", "write a value, or leave the property out where it is optional"}},
	{"", "CountAboveMax", message{`"{p}" has {f} values`, "", "remove values"}},
	{"", "MultipleValues", message{`"{p}" has several values`, "one value", "keep one of them"}},
	{"", "ObjectNoValue", message{`"{p}" is an object without "@value"`, "", `write the value itself, or an object with "@value"`}},
	{"string", "NotString", message{`"{p}" is {f}`, "a string", "put it in quotation marks"}},
	{"duration", "NotString", message{`"{p}" is {f}`, `a string with a duration like "PT1H30M"`, ""}},
	{"integer", "NotInteger", message{`"{p}" is {f}`, "a whole number of 32 bits", ""}},
	{"boolean", "NotBoolean", message{`"{p}" is {f}`, "true or false", "write it without quotation marks"}},
	{"numeric", "NotNumeric", message{`"{p}" is {f}`, "a number", "write it without quotation marks"}},
	{"inconsistent", "Values", message{`"{p}" has different values`, "", ""}},
	{"missingSupplemental", "Property", message{`"{p}" is missing, which the type {t} demands`, "", `add "{p}", or remove {t} from @type`}},
	{"missing", "Property", message{`"{p}" is missing`, "", `add "{p}"`}},
	{"repeated", "", message{`the keyword {v} occurs twice in the object`, "each keyword once", "remove one of them"}},
	{"localTerm", "", message{`a term "{p}" is defined in the document`, "", "remove the definition"}},
	{"termDefinition", "", message{"the definition of a term is malformed", "", "documents may not define terms: remove the definition"}},
}

var messages = map[string]message{
	// of this package
	"notJson":             {"the document is not JSON: {v}", "one interface or an array of interfaces in JSON (RFC 8259)", ""},
	"tooLarge":            {"there are {v}", "at most {r}", "split the set or the document"},
	"unresolvedReference": {`"{p}" refers to {v}, which is not in the set`, "", "add the document that defines it to the set, or correct the identifier"},
	"resolverFailed":      {"missing elements could not be fetched: {v}", "", ""},

	// documents and contexts
	"notJsonObject":                     {"there is {f} where an interface should be", "an object, or an array of objects", ""},
	"missingContext":                    {"@context is missing", `"@context": "dtmi:dtdl:context;4" or an array that begins with it`, "add @context to the interface"},
	"emptyContext":                      {"@context is empty", `"dtmi:dtdl:context;4" or an array that begins with it`, ""},
	"invalidContext":                    {"@context holds {f}", "strings", ""},
	"invalidContextSpecifier":           {`the context "{v}" is no DTMI`, `a DTMI like "dtmi:dtdl:context;4"`, ""},
	"invalidContextSpecifierForVersion": {`the context "{v}" is no DTMI in the syntax of DTDL v{r}`, `a DTMI with a version like "dtmi:dtdl:extension:quantitativeTypes;1"`, ""},
	"invalidContextFragment":            {`the context "{v}" has an unknown fragment`, "no fragment, #limitless or #limits", ""},
	"disallowedContextFragment":         {`the context "{v}" has a fragment, which DTDL v{r} does not know`, "no fragment", ""},
	"missingContextVersion":             {`the context "{v}" has no version`, "a version behind a semicolon", ""},
	"misplacedLimitContext":             {`the limits "{v}" do not stand right behind a #limitless context`, `"dtmi:dtdl:context;4#limitless" in front of limits`, ""},
	"missingLimitContext":               {`behind "{v}" there are no limits`, `"dtmi:dtdl:context;4#limits" or a limit extension right behind it`, ""},
	"disallowedLimitContext":            {`the limits "{v}" are not accepted here`, "{r}", ""},
	"unrecognizedContextVersion":        {`there is no version of DTDL like "{v}"`, "version {r}", ""},
	"disallowedContextVersion":          {`"{v}" is above the highest version that is accepted`, "at most version {r}", "write @context for that version, or raise the option MaxVersion"},
	"missingDtdlContext":                {"no context of DTDL stands first in @context", `"dtmi:dtdl:context;4" as the first one`, ""},
	"dtdlContextFollowsAffiliate":       {`"{v}" stands behind an extension`, "the context of DTDL before those of extensions", "move it to the front"},
	"nonDtmiContextSpecifier":           {`the context "{v}" is no DTMI`, "a DTMI", ""},
	"unresolvableContextSpecifier":      {`the extension "{v}" is not known`, "", "correct it, or allow undefined extensions"},
	"unresolvableContextVersion":        {`this version of the extension "{v}" is not known`, "version {r}", "correct it, or allow undefined extensions"},
	"localContextNotLast":               {"definitions of terms stand before a context", "", "remove them"},
	"disallowedLocalContext":            {"@context defines terms, which DTDL v{r} does not allow", "strings", "remove the definitions"},
	"graphNotObject":                    {"@graph holds {f}", "objects", "remove @graph"},
	"topLevelGraphDisallowed":           {"an interface has @graph", "", "write the interfaces as an array"},
	"topLevelKeywordDisallowed":         {"an interface has {v}", "@context, @id and @type only", "remove it"},
	"typeNotRootable":                   {"what stands at the top of a document is no interface", `"@type": "Interface"`, ""},
	"partitionTooLarge":                 {"the text of the interface has {v}", "at most {r}", "split the interface with extends or components"},

	// identifiers
	"missingTopLevelId":           {"@id is missing", `an identifier like "dtmi:com:example:Pump;1"`, "add @id"},
	"missingRequiredId":           {`a value of "{p}" has no @id`, "", "add @id to the value, or refer to an element by its identifier"},
	"idNotString":                 {"@id is no string, or is empty", `an identifier like "dtmi:com:example:Pump;1"`, ""},
	"idTooLong":                   {`the identifier "{v}" is too long`, "", ""},
	"idTooLongForType":            {`the identifier "{v}" is too long for an element of type {t}`, "", ""},
	"invalidId":                   {`"{v}" is no identifier of DTDL v{r}`, `"dtmi:", names joined by colons, and a version, like "dtmi:com:example:Pump;1"`, ""},
	"reservedId":                  {`the identifier "{v}" begins as the language reserves it`, "not {r}", "use a name of your own behind dtmi:"},
	"duplicateDefinition":         {"the identifier is defined twice", "", "remove one definition or give it another identifier or version"},
	"idReference":                 {`a value of "{p}" is an object with nothing but @id`, `the identifier alone: "{v}"`, ""},
	"undefinedReservedId":         {`"{p}" refers to {o}, which the language reserves and does not define`, "", ""},
	"identifierNotString":         {`"{p}" is {f}`, "a string with an identifier", ""},
	"identifierNotDtmi":           {`"{p}" is "{v}"`, "an identifier (DTMI) or a term", ""},
	"identifierNotUri":            {`"{p}" is "{v}"`, "an identifier (URI) or a term", ""},
	"identifierInvalid":           {`"{p}" is "{v}"`, "an identifier of a user's element", ""},
	"identifierTooLong":           {`"{p}" is too long`, "", ""},
	"missingDtmiSegPropertyValue": {`a value of "{p}" has no "{v}"`, "", `add "{v}"`},
	"missingDictKeyPropertyValue": {`"{p}" has the value {o}, which has no "{v}"`, "", `add "{v}"`},

	// types
	"badType":                         {`"{p}" has a value that is not of the type it must be`, "{r}", "correct @type, or refer to an element of that type"},
	"multipleMaterialTypes":           {"@type names several classes: {v}", "one class, and types of extensions beside it", ""},
	"abstractSupplementalType":        {"@type names {t}, which is only a common name for several types", "one of those types", ""},
	"typeInvalidDtmi":                 {`@type has "{v}", which is no valid DTMI`, "", ""},
	"typeNotDtmiNorTerm":              {`@type has "{v}", which is neither a DTMI nor a term`, "", ""},
	"typeUndefinedTerm":               {`@type has "{v}", which no context in force defines`, "", "correct it, or add the context of the extension that defines it"},
	"typeIrrelevantDtmiOrTerm":        {`@type has "{v}", which is no type`, "", ""},
	"invalidCotype":                   {"the type {t} is not for elements of this class", "an element of type {r}", "remove it from @type"},
	"invalidCotypeVersion":            {"the type {t} is not for this version of DTDL", "version {r}", "change the version of DTDL or of the extension in @context"},
	"missingCocotype":                 {"the type {t} needs the type {r} beside it", "{r} in @type", ""},
	"disallowedCocotype":              {"the type {t} does not go with the type {r}", "one of them", "remove one of them"},
	"conflictingSupplementalTypes":    {`the types {t} and {r} both have the property "{p}"`, "one of them", "remove one of them"},
	"notRequiredType":                 {`"{p}" is {o}, which is not of the type that a type in @type demands`, "{t}", ""},
	"notRequiredValue":                {`"{p}" is {o}`, "{r}", ""},
	"wrongParent":                     {`"{p}" is {o}, a {v}`, "a child of {r}", "use a value that the type in @type allows, for example a unit of its quantity"},
	"parentMissingCotype":             {`the type {t} is for values of "{p}" of elements with another type`, "a parent of type {r}", ""},
	"siblingMissingCotype":            {`the type {t} needs a sibling in "{p}" with another type`, "a sibling of type {r}", ""},
	"siblingDuplicatesCotype":         {`the type {t} stands on two values of "{p}"; the other is {o}`, "one of them", ""},
	"notSiblingRequiredType":          {`"{p}" refers to the sibling "{v}", which is of another type`, "a sibling of type {t}", ""},
	"disallowedType":                  {`"{p}" refers to the sibling "{v}", which is of type {t}`, "a sibling of another type", ""},
	"multipleReference":               {"two elements refer to the same sibling by {a}: {v}", "one of them", ""},
	"siblingPropertyMismatch":         {`"{p}" is {v}`, "{r}", ""},
	"noMatchingSupplementalProperty":  {`"{p}" refers to the sibling "{v}", which has no property "{r}"`, "", ""},
	"matchingPropertyNotSupplemental": {`"{p}" refers to the sibling "{v}", whose property "{r}" belongs to the language and cannot be overridden`, "", ""},

	// properties
	"duplicatePropertyName":          {`"{p}" occurs twice`, "each property once", "remove one of them"},
	"noTypeThatAllows":               {`no type in @type has a property "{p}"`, "", "correct the name, or add the type that has the property"},
	"inferredTypeDoesNotAllow":       {`{t} has no property "{p}"`, "", "correct the name"},
	"propertyUndefinedTerm":          {`no context in force defines a property "{p}"`, "", "correct the name, or add the context of the extension that defines it"},
	"propertyIrrelevantDtmiOrTerm":   {`"{p}" is no property of any type in @type`, "", "remove it, or add the type that has it"},
	"propertyInvalidDtmi":            {`the property "{p}" is no valid DTMI`, "", ""},
	"propertyNotDtmiNorTerm":         {`the property "{p}" is neither a DTMI nor a term`, "", ""},
	"keywordDisallowed":              {`a value of "{p}" has {v}`, "@context, @id and @type only", "remove it"},
	"graphDisallowed":                {`a value of "{p}" has @graph`, "", "remove it"},
	"badDtmiOrTerm":                  {`"{p}" is "{v}", which is neither an identifier nor a term of DTDL v{r}`, "", "correct it: schemas are boolean, double, integer, string, dateTime and others"},
	"refNotStringOrObject":           {`"{p}" is {f}`, "an object, an identifier or a term", ""},
	"refObjectNotAllowed":            {`"{p}" is an object`, "an identifier or a term", ""},
	"nonUniquePropertyValue":         {`two values of "{p}" have the same "{a}": {v}`, "", "rename one of them"},
	"nonUniqueImportedPropertyValue": {`"{p}" has a value named "{v}", and {o}, which is inherited, has one too`, "", "rename one of them"},
	"incorrectPropertyValue":         {`"{p}" is {v}`, "{r}", ""},
	"nonConformantDatatype":          {`"{p}" is {f}, which is not of type {t}`, "a value of the enum's {r}", ""},
	"nonConformantPropertyValue":     {`"{p}" is {v}`, `a value of "{r}"`, ""},
	"crossPartitionReference":        {`"{p}" refers to {o}, which is defined inside {v}`, "an element of {r}, or an interface", "define the schema in this interface too, or inherit it"},
	"disallowedVersionDefinition":    {`a value of "{p}" is written in DTDL v{v}`, "version {r}", ""},
	"disallowedVersionReference":     {`"{p}" refers to {o}, which is written in DTDL v{v}`, "version {r}", ""},

	"objectCountBelowMin": {`"{p}" has {f} valid values`, "", "see the other errors of this property, or write a value"},

	// literals
	"stringTooLong":           {`"{p}" is too long: {v}`, "", ""},
	"stringInvalid":           {`"{p}" is "{v}"`, "{r}", ""},
	"stringTypeNotString":     {`the @type of "{p}" is another one`, "xsd:string", "write the string itself"},
	"integerTypeNotInteger":   {`the @type of "{p}" is another one`, "xsd:integer", "write the number itself"},
	"numericTypeNotNumeric":   {`the @type of "{p}" is another one`, "xsd:decimal", "write the number itself"},
	"booleanTypeNotBoolean":   {`the @type of "{p}" is another one`, "xsd:boolean", "write true or false itself"},
	"durationTypeNotDuration": {`the @type of "{p}" is another one`, "xsd:duration", "write the string itself"},
	"durationInvalid":         {`"{p}" is "{v}"`, `a duration like "PT1H30M"`, ""},
	"literalTypeNotSingular":  {`"{p}" has several @type`, "one", ""},
	"literalNotValid":         {`"{p}" is {f}`, "a string, a number, true or false", ""},
	"valueNotExact":           {`"{p}" is {v}`, "{r}", ""},
	"valueBelowMin":           {`"{p}" is {v}`, "at least {r}", ""},
	"valueBelowRange":         {`"{p}" is {v}`, "a number within {r}", ""},
	"valueAboveMax":           {`"{p}" is {v}`, "at most {r}", ""},
	"valueAboveRange":         {`"{p}" is {v}`, "a number within {r}", ""},
	"valueObjectContext":      {`the value of "{p}" has @context`, "@value and @type only", "remove it"},
	"valueObjectId":           {`the value of "{p}" has @id`, "@value and @type only", "remove it"},
	"valueObjectGraph":        {`the value of "{p}" has @graph`, "@value and @type only", "remove it"},
	"valueObjectLanguage":     {`the value of "{p}" has @language`, "@value and @type only", "remove it"},
	"valueObjectKeyword":      {`the value of "{p}" has {v}`, "@value and @type only", "remove it"},
	"valueObjectInvalidProp":  {`the value of "{p}" has a property "{v}"`, "@value and @type only", "remove it"},

	// localized texts
	"langStringElementNotStringOrObject": {`a text of "{p}" is {f}`, "a string, or an object with @value and @language", ""},
	"langStringElementCodeNotString":     {`the @language of a text of "{p}" is {f}`, `a language like "en"`, ""},
	"langStringElementInvalidCode":       {`a text of "{p}" has the language "{v}"`, `a language like "en", "de-CH" or "zh-Hans-CN"`, ""},
	"langStringElementCodeNotUnique":     {`"{p}" has two texts in the language {v}`, "one in each language", ""},
	"langStringElementNoValue":           {`a text of "{p}" has no @value`, "", "add @value, or write a map from languages to texts"},
	"langStringElementValueNotString":    {`the @value of a text of "{p}" is {f}`, "a string", ""},
	"langStringElementContext":           {`a text of "{p}" has @context`, "@value and @language only", "remove it"},
	"langStringElementId":                {`a text of "{p}" has @id`, "@value and @language only", "remove it"},
	"langStringElementGraph":             {`a text of "{p}" has @graph`, "@value and @language only", "remove it"},
	"langStringElementType":              {`a text of "{p}" has @type`, "@value and @language only", "remove it"},
	"langStringElementKeyword":           {`a text of "{p}" has {v}`, "@value and @language only", "remove it"},
	"langStringElementInvalidProp":       {`a text of "{p}" has a property "{v}"`, "@value and @language only", "remove it"},
	"langStringValueTooLong":             {`a text of "{p}" is too long: {v}`, "", ""},
	"langStringValueNotString":           {`the text of "{p}" in the language {v} is no string`, "a string", ""},
	"langStringInvalidCode":              {`"{p}" has a text in the language "{v}"`, `a language like "en", "de-CH" or "zh-Hans-CN"`, ""},
	"langStringCodeNotUnique":            {`"{p}" has two texts in the language {v}`, "one in each language", ""},
	"langTagValueInLangMap":              {`"{p}" is an object with @value and @language where a map from languages to texts stands`, "{v}", "write the map, or put the object in an array"},
	"langMapObjKeyword":                  {`"{p}" has {v} in its map from languages to texts`, "languages", "remove it"},

	// structure
	"excessiveCount":           {"below it there are {f} values of {p}", "", "split the interface"},
	"excessiveDepthNarrow":     {"the chain of {p} is too long; it goes on below {o}", "", ""},
	"excessiveDepthWide":       {"schemas are nested too deeply; they go on below {o}", "", "make it flatter"},
	"recursiveStructureNarrow": {"by {p} it contains itself", "", "cut the circle"},
	"recursiveStructureWide":   {"it contains itself", "", "cut the circle"},
	"excludedType":             {"it contains {o} of type {r}, which is not allowed below a {t}", "", ""},
}
