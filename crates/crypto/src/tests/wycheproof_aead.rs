//! Vectors of the RFCs, through whole ESP packets where the RFC has such, else through the primitive.
use super::*;
