package origin

// Tests stand in a package of their own: what they import would be initialised before this one.

var DeepCopy = deepCopy
